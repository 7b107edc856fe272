#include "translator/fetch/folder.h"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace pinnace::translator {
namespace fs = std::filesystem;
namespace {

constexpr uint32_t kEvents =
    IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;

bool is_yaml(const fs::path& path) {
  auto name = path.filename().string();
  // Editors keep unsaved work in hidden files beside the original.
  return !name.starts_with('.') && (path.extension() == ".yaml" || path.extension() == ".yml");
}

}  // namespace

Folder::~Folder() {
  if (inotify_ >= 0) close(inotify_);
}

Result<int> Folder::watch() {
  inotify_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify_ < 0) return error(fmt::format("inotify: {}", std::strerror(errno)));
  watch_below(path_);
  return inotify_;
}

void Folder::watch_below(const std::string& directory) {
  if (inotify_ < 0) return;
  inotify_add_watch(inotify_, directory.c_str(), kEvents);  // adding twice is the same watch
  std::error_code failed;
  for (fs::recursive_directory_iterator at(directory, fs::directory_options::skip_permission_denied, failed), end;
       !failed && at != end; at.increment(failed))
    if (at->is_directory(failed)) inotify_add_watch(inotify_, at->path().c_str(), kEvents);
}

bool Folder::drain() {
  alignas(inotify_event) char buffer[16 * 1024];
  bool due = false;
  while (read(inotify_, buffer, sizeof buffer) > 0) due = true;
  return due;
}

Result<Folder::Change> Folder::scan() {
  Change change;
  std::error_code failed;
  if (!fs::is_directory(path_, failed)) return error(fmt::format("{}: not a directory", path_));
  watch_below(path_);
  std::set<std::string> present;
  for (fs::recursive_directory_iterator at(path_, fs::directory_options::skip_permission_denied, failed), end;
       !failed && at != end; at.increment(failed)) {
    std::error_code gone;
    if (!is_yaml(at->path()) || !at->is_regular_file(gone)) continue;
    auto name = at->path().string();
    std::ifstream in(name, std::ios::binary);
    if (!in) {
      change.problems.push_back(fmt::format("{}:0: {}", name, std::strerror(errno)));
      if (files_.contains(name)) present.insert(name);
      continue;
    }
    std::ostringstream text;
    text << in.rdbuf();
    present.insert(name);
    auto known = files_.find(name);
    if (known != files_.end() && known->second.text == text.str()) continue;
    auto parsed = parse_file(text.str(), name);
    auto& file = files_[name];
    file.text = text.str();
    for (auto& problem : parsed.problems)
      change.problems.push_back(fmt::format("{}:{}: {}", name, problem.line, problem.reason));
    if (!parsed.problems.empty()) continue;
    file.objects = std::move(parsed.objects);
    change.any = true;
    change.files.push_back(name);
  }
  for (auto file = files_.begin(); file != files_.end();) {
    if (present.contains(file->first)) {
      ++file;
      continue;
    }
    change.any = true;
    change.files.push_back(file->first);
    file = files_.erase(file);
  }
  return change;
}

std::vector<const Object*> Folder::objects() const {
  std::vector<const Object*> out;
  for (auto& [name, file] : files_)
    for (auto& object : file.objects) out.push_back(&object);
  return out;
}

}  // namespace pinnace::translator
