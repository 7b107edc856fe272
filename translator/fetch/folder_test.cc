#include "translator/fetch/folder.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace pinnace::translator {
namespace {

namespace fs = std::filesystem;

class FolderTest : public testing::Test {
 protected:
  FolderTest() {
    directory = fs::path(testing::TempDir()) / ("folder-" + std::to_string(getpid()));
    fs::create_directories(directory);
    folder = std::make_unique<Folder>(directory.string());
    inotify = *folder->watch();
  }
  ~FolderTest() override { fs::remove_all(directory); }
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((directory / name).parent_path());
    std::ofstream(directory / name) << text;
  }
  static std::string ns(const std::string& name) {
    return "{apiVersion: v1, kind: Namespace, metadata: {name: " + name + "}}\n";
  }
  bool noticed() {
    pollfd fd{inotify, POLLIN, 0};
    return poll(&fd, 1, 2000) > 0 && folder->drain();
  }

  fs::path directory;
  std::unique_ptr<Folder> folder;
  int inotify = -1;
};

TEST_F(FolderTest, broken_file_keeps_its_last_good_state) {
  write("a.yaml", ns("a"));
  write("b.yml", ns("b"));
  EXPECT_TRUE(folder->scan()->any);
  write("a.yaml", "spec: [\n");
  auto change = *folder->scan();
  EXPECT_FALSE(change.any);
  ASSERT_EQ(change.problems.size(), 1u);
  EXPECT_EQ(change.problems[0].substr(0, change.problems[0].find(": ")), (directory / "a.yaml").string() + ":2");
  EXPECT_EQ(folder->objects().size(), 2u);
  EXPECT_TRUE((*folder->scan()).problems.empty()) << "said once";
  write("a.yaml", ns("c"));
  EXPECT_TRUE(folder->scan()->any);
}

TEST_F(FolderTest, removed_file_takes_its_objects_along) {
  write("a.yaml", ns("a"));
  (void)folder->scan();
  fs::remove(directory / "a.yaml");
  EXPECT_TRUE(folder->scan()->any);
  EXPECT_TRUE(folder->objects().empty());
}

TEST_F(FolderTest, notices_writes_renames_and_new_directories) {
  write("a.yaml", ns("a"));
  EXPECT_TRUE(noticed());
  (void)folder->scan();
  write(".a.tmp", ns("b"));
  fs::rename(directory / ".a.tmp", directory / "a.yaml");
  EXPECT_TRUE(noticed());
  EXPECT_TRUE(folder->scan()->any);
  fs::create_directories(directory / "deep");
  EXPECT_TRUE(noticed());
  (void)folder->scan();
  folder->drain();
  write("deep/c.yaml", ns("c"));
  EXPECT_TRUE(noticed());
  EXPECT_TRUE(folder->scan()->any);
  EXPECT_EQ(folder->objects().size(), 2u);
}

TEST_F(FolderTest, other_and_hidden_files_are_left_alone) {
  write("a.txt", "[");
  write(".hidden.yaml", "[");
  EXPECT_TRUE((*folder->scan()).problems.empty());
}

}  // namespace
}  // namespace pinnace::translator
