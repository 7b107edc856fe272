#!/usr/bin/env python3
"""Writes the xDS API as one FileDescriptorSet and the list of .proto files pinnace generates C++ for.

usage: generate.py OUT_DIR   (needs PyPI xds-protos, which carries the API as serialised descriptors)

OUT_DIR/xds.desc   the closure of ROOTS, ready for `protoc --descriptor_set_in`
OUT_DIR/files.txt  the files of that closure that protobuf itself does not ship, one per line
"""
import importlib
import pathlib
import sys

from google.protobuf import descriptor_pb2

# The messages pinnace compiles or serves. Their imports follow by themselves. Types that are only
# passed through (config_dump) are listed too, so that they print as themselves.
ROOTS = """
envoy/admin/v3/clusters.proto
envoy/admin/v3/certs.proto
envoy/admin/v3/config_dump.proto
envoy/admin/v3/config_dump_shared.proto
envoy/admin/v3/listeners.proto
envoy/admin/v3/server_info.proto
envoy/config/bootstrap/v3/bootstrap.proto
envoy/config/cluster/v3/cluster.proto
envoy/config/endpoint/v3/endpoint.proto
envoy/config/listener/v3/listener.proto
envoy/config/route/v3/route.proto
envoy/extensions/access_loggers/file/v3/file.proto
envoy/extensions/access_loggers/filters/cel/v3/cel.proto
envoy/extensions/access_loggers/grpc/v3/als.proto
envoy/extensions/access_loggers/stream/v3/stream.proto
envoy/extensions/compression/brotli/compressor/v3/brotli.proto
envoy/extensions/compression/gzip/compressor/v3/gzip.proto
envoy/extensions/compression/zstd/compressor/v3/zstd.proto
envoy/extensions/filters/http/compressor/v3/compressor.proto
envoy/extensions/filters/http/cors/v3/cors.proto
envoy/extensions/filters/http/fault/v3/fault.proto
envoy/extensions/filters/http/grpc_stats/v3/config.proto
envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto
envoy/extensions/filters/http/router/v3/router.proto
envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto
envoy/extensions/filters/listener/original_dst/v3/original_dst.proto
envoy/extensions/filters/listener/original_src/v3/original_src.proto
envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto
envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto
envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto
envoy/extensions/filters/network/mongo_proxy/v3/mongo_proxy.proto
envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto
envoy/extensions/formatter/cel/v3/cel.proto
envoy/extensions/formatter/req_without_query/v3/req_without_query.proto
envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.proto
envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto
envoy/extensions/request_id/uuid/v3/uuid.proto
envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto
envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto
envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto
envoy/extensions/transport_sockets/tls/v3/tls.proto
envoy/extensions/upstreams/http/v3/http_protocol_options.proto
envoy/service/accesslog/v3/als.proto
envoy/service/discovery/v3/ads.proto
envoy/service/discovery/v3/discovery.proto
envoy/service/runtime/v3/rtds.proto
envoy/service/secret/v3/sds.proto
envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto
udpa/type/v1/typed_struct.proto
xds/type/v3/typed_struct.proto
""".split()

# protoc 3.21 does not escape this C++20 keyword; the JSON name stays as the API has it.
KEYWORDS = {"requires"}


def module_of(proto):
    return proto[: -len(".proto")].replace("/", ".").replace("-", "_") + "_pb2"


def closure(roots):
    """Every file descriptor the roots need, dependencies first."""
    ordered, seen = [], set()

    def visit(descriptor):
        if descriptor.name in seen:
            return
        seen.add(descriptor.name)
        for dependency in descriptor.dependencies:
            visit(dependency)
        ordered.append(descriptor)

    for root in roots:
        visit(importlib.import_module(module_of(root)).DESCRIPTOR)
    return ordered


def rename_keywords(message):
    for field in message.field:
        if field.name in KEYWORDS:
            field.json_name = field.name
            field.name += "_"
    for nested in message.nested_type:
        rename_keywords(nested)


def put(path, data):
    """Leaves a file that says so already as it is: what is made of it need not be made anew for each preset."""
    if not path.exists() or path.read_bytes() != data:
        path.write_bytes(data)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    files = descriptor_pb2.FileDescriptorSet()
    names = []
    for descriptor in closure(ROOTS):
        file = files.file.add()
        descriptor.CopyToProto(file)
        for message in file.message_type:
            rename_keywords(message)
        if not file.name.startswith("google/protobuf/"):
            names.append(file.name)
    put(out / "xds.desc", files.SerializeToString(deterministic=True))
    put(out / "files.txt", ("\n".join(names) + "\n").encode())


if __name__ == "__main__":
    main()
