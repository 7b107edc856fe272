#include "tls/websocket_accept.h"

#include <gtest/gtest.h>

namespace pinnace::tls {

TEST(WebSocketTest, the_rfcs_example) {
  base::BlockPool pool;
  base::Arena arena(pool);
  EXPECT_EQ(websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", arena), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

}  // namespace pinnace::tls
