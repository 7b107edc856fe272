// Printing messages as Envoy's admin does.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include "proxy/admin/admin.h"
#include "proxy/base/utf8.h"
#include "udpa/annotations/sensitive.pb.h"
#include "xds/type/v3/typed_struct.pb.h"

namespace pinnace::admin {
namespace {

using google::protobuf::Any;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

bool known(const Any& any) {
  size_t slash = any.type_url().rfind('/');
  std::string name = slash == std::string::npos ? any.type_url() : any.type_url().substr(slash + 1);
  return google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name) != nullptr;
}

template <class Visit>
void each_message(Message& message, Visit visit) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); i++)
        visit(*reflection->MutableRepeatedMessage(&message, field, i));
    } else {
      visit(*reflection->MutableMessage(&message, field));
    }
  }
}

// Protobuf's printer gives up on a type it does not know; such an Any is shown as a TypedStruct that names it.
void make_printable(Message& message) {
  if (auto* any = dynamic_cast<Any*>(&message)) {
    if (any->type_url().empty()) return;
    if (!known(*any)) {
      ::xds::type::v3::TypedStruct opaque;
      opaque.set_type_url(any->type_url());
      (*opaque.mutable_value()->mutable_fields())["bytes"].set_number_value(static_cast<double>(any->value().size()));
      any->PackFrom(opaque);
      return;
    }
    size_t slash = any->type_url().rfind('/');
    const auto* type =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(any->type_url().substr(slash + 1));
    std::unique_ptr<Message> inner(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
    if (!any->UnpackTo(inner.get())) return;
    make_printable(*inner);
    any->PackFrom(*inner);
    return;
  }
  each_message(message, [](Message& inner) { make_printable(inner); });
}

// Everything below a sensitive field (a private key's DataSource) is blacked out, whatever form it has.
void black_out(Message& message) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->is_repeated()) continue;
    if (field->type() == FieldDescriptor::TYPE_STRING || field->type() == FieldDescriptor::TYPE_BYTES) {
      reflection->SetString(&message, field, "[redacted]");
    }
  }
  each_message(message, black_out);
}

}  // namespace

void redact(Message& message) {
  if (auto* any = dynamic_cast<Any*>(&message)) {
    if (!known(*any) || any->type_url().empty()) return;
    size_t slash = any->type_url().rfind('/');
    const auto* type =
        google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(any->type_url().substr(slash + 1));
    std::unique_ptr<Message> inner(google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
    if (!any->UnpackTo(inner.get())) return;
    redact(*inner);
    any->PackFrom(*inner);
    return;
  }
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field->options().GetExtension(udpa::annotations::sensitive) && !field->is_repeated() &&
          field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        reflection->SetString(&message, field, "[redacted]");
      }
      continue;
    }
    bool sensitive = field->options().GetExtension(udpa::annotations::sensitive);
    auto visit = [&](Message& inner) { sensitive ? black_out(inner) : redact(inner); };
    if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); i++)
        visit(*reflection->MutableRepeatedMessage(&message, field, i));
    } else {
      visit(*reflection->MutableMessage(&message, field));
    }
  }
}

std::string to_json(const Message& message, bool whitespace, bool defaults) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = whitespace;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = defaults;
  std::string out;
  std::unique_ptr<Message> copy(message.New());
  copy->CopyFrom(message);
  make_printable(*copy);
  auto status = google::protobuf::util::MessageToJsonString(*copy, &out, options);
  if (!status.ok()) return "{\"error\":" + json_string(std::string(status.message())) + "}\n";
  return out;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (char c : base::to_utf8(text)) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || c == '<' || c == '>') {
      char escape[8];
      snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace pinnace::admin
