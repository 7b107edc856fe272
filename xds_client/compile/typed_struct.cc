#include "xds_client/compile/typed_struct.h"

#include <google/protobuf/util/json_util.h>

#include <memory>

#include "udpa/type/v1/typed_struct.pb.h"
#include "xds/type/v3/typed_struct.pb.h"

namespace pinnace::compile {
namespace {

using google::protobuf::Any;

Result<Any> typed(const std::string& type_url, const google::protobuf::Struct& value) {
  namespace protobuf = google::protobuf;
  Any out;
  std::string name = type_url.substr(type_url.rfind('/') + 1);
  const protobuf::Descriptor* type = protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (!type) {
    out.set_type_url(type_url);
    return out;
  }
  std::unique_ptr<protobuf::Message> message(protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  std::string json;
  auto status = protobuf::util::MessageToJsonString(value, &json);
  if (status.ok()) status = protobuf::util::JsonStringToMessage(json, message.get());
  if (!status.ok()) return error(name + ": " + std::string(status.message()));
  out.PackFrom(*message);
  return out;
}

}  // namespace

Result<Any> unwrap(const Any& any) {
  ::udpa::type::v1::TypedStruct old_form;
  ::xds::type::v3::TypedStruct new_form;
  if (any.Is<::udpa::type::v1::TypedStruct>()) {
    if (!any.UnpackTo(&old_form)) return error("TypedStruct does not parse");
    return typed(old_form.type_url(), old_form.value());
  }
  if (any.Is<::xds::type::v3::TypedStruct>()) {
    if (!any.UnpackTo(&new_form)) return error("TypedStruct does not parse");
    return typed(new_form.type_url(), new_form.value());
  }
  return any;
}

}  // namespace pinnace::compile
