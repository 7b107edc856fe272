"""gRPC by grpc-java's interop client and server, one test a case."""
import grpc_path
import pytest

pytestmark = pytest.mark.timeout(150, func_only=True)


@pytest.mark.parametrize("case", grpc_path.CASES)
def test_grpc_java_passes_through_two_sidecars(lab, grpc_java, case):
    client, server = grpc_java
    grpc_path.passes_through_two_sidecars(lab, client, server, case)
