// Memory for nghttp2: what a request makes and frees comes from free lists of its thread, by size class, so that
// nothing of it goes to malloc in steady state. THREAD: a session's, for all it allocates.
#pragma once

#include <nghttp2/nghttp2.h>

namespace pinnace::http::h2 {

// For nghttp2_session_*_new3(). LIFETIME: the process's.
nghttp2_mem* session_memory();

}  // namespace pinnace::http::h2
