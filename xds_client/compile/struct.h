// What metadata is made of: look-ups in google.protobuf.Struct, and bytes that are the same for equal messages. Pure.
#pragma once

#include <google/protobuf/struct.pb.h>

#include <string>

namespace pinnace::compile {

// A member of `in`; one that is not there is the default Value: no text, false, an empty struct.
const google::protobuf::Value& value_in(const google::protobuf::Struct& in, const std::string& name);
// The same bytes each time: fields of maps in order.
std::string serialize(const google::protobuf::Message& message);

}  // namespace pinnace::compile
