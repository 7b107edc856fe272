#include "xds_client/compile/struct.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace pinnace::compile {

const google::protobuf::Value& value_in(const google::protobuf::Struct& in, const std::string& name) {
  auto found = in.fields().find(name);
  return found == in.fields().end() ? google::protobuf::Value::default_instance() : found->second;
}

std::string serialize(const google::protobuf::Message& message) {
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return out;
}

}  // namespace pinnace::compile
