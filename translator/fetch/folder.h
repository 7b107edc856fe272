// Folder: the objects of every *.yaml and *.yml file below one directory, with the last good state of each file.
// A file that turns bad is reported and its earlier objects stay in force; a file that vanishes takes its objects
// along. Notices writes, renames over a file, new and removed directories (inotify; fd() becomes readable). THREAD:
// one. ERRORS: problems are lines "file:line: reason", for the caller to print.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "translator/fetch/parse.h"

namespace pinnace::translator {

class Folder {
 public:
  explicit Folder(std::string path) : path_(std::move(path)) {}
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  struct Change {
    bool any = false;                   // objects differ from before
    std::vector<std::string> files;     // which files changed for good
    std::vector<std::string> problems;  // "file:line: reason"
  };
  // Reads what is new or different since the last call. The directory itself must exist.
  Result<Change> scan();
  // Starts to watch; call before the first scan so that nothing falls between.
  Result<int> watch();
  // Empties the notices; true when a scan is due.
  bool drain();

  std::vector<const Object*> objects() const;

 private:
  struct File {
    std::string text;
    std::vector<Object> objects;  // of the last good text
  };
  void watch_below(const std::string& directory);

  std::string path_;
  int inotify_ = -1;
  std::map<std::string, File> files_;
};

}  // namespace pinnace::translator
