#include "translator/translate/proto.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace pinnace::translator {

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

void pack(const google::protobuf::Message& message, google::protobuf::Any* any) {
  any->set_type_url("type.googleapis.com/" + message.GetDescriptor()->full_name());
  any->set_value(serialize(message));
}

void set_duration(google::protobuf::Duration* to, Duration value) {
  to->set_seconds(value.count() / 1000000000);
  to->set_nanos(static_cast<int32_t>(value.count() % 1000000000));
}

void set_address(envoy::config::core::v3::Address* to, std::string_view ip, uint32_t port) {
  to->mutable_socket_address()->set_address(std::string(ip));
  to->mutable_socket_address()->set_port_value(port);
}

void set_ads(envoy::config::core::v3::ConfigSource* source) {
  source->mutable_ads();
  source->mutable_initial_fetch_timeout();
  source->set_resource_api_version(envoy::config::core::v3::V3);
}

void set_config_metadata(envoy::config::core::v3::Metadata* metadata, std::string_view kind, const Meta& meta) {
  auto& fields = *(*metadata->mutable_filter_metadata())["istio"].mutable_fields();
  fields["config"].set_string_value(
      fmt::format("/apis/networking.istio.io/v1/namespaces/{}/{}/{}", meta.ns, kind, meta.name));
}

std::string outbound_cluster(uint32_t port, std::string_view subset, std::string_view host) {
  return fmt::format("outbound|{}|{}|{}", port, subset, host);
}

std::string inbound_cluster(uint32_t port) { return fmt::format("inbound|{}||", port); }

}  // namespace pinnace::translator
