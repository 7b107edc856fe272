// TypedStruct (udpa.type.v1, xds.type.v3): a message in the form of its JSON, with the type that it is meant to be.
// THREAD: any.
#pragma once

#include <google/protobuf/any.pb.h>

#include "proxy/base/result.h"

namespace pinnace::compile {

// The message that a TypedStruct stands for; one of a type that is not compiled in comes back with only its type.
// Anything else comes back as it is. ERRORS: the struct does not fit its type.
Result<google::protobuf::Any> unwrap(const google::protobuf::Any& any);

}  // namespace pinnace::compile
