// Memory for OpenSSL: with SSL_MODE_RELEASE_BUFFERS it makes and frees a record buffer for each record, which is more
// than malloc keeps at hand. A few of them stay with their thread. THREAD: any.
#pragma once

namespace pinnace::tls {

// REQUIRES: before OpenSSL has allocated anything. Later calls change nothing.
void keep_record_buffers();

}  // namespace pinnace::tls
