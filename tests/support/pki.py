"""A small PKI made with the openssl program: a CA, SPIFFE certificates, and the certificates that must be refused."""
import ssl
import subprocess
from pathlib import Path

DOMAIN = "spiffe://cluster.local/ns/default/sa/"


def openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Cert:
    def __init__(self, chain_path, key_path, uri):
        self.chain_path, self.key_path, self.uri = chain_path, key_path, uri

    @property
    def chain(self):
        return Path(self.chain_path).read_text()

    @property
    def key(self):
        return Path(self.key_path).read_text()

    def fingerprint(self):
        line = openssl("x509", "-in", self.chain_path, "-noout", "-fingerprint", "-sha256")
        return line.split("=")[1].strip().replace(":", "").lower()

    def serial(self):
        return openssl("x509", "-in", self.chain_path, "-noout", "-serial").split("=")[1].strip().lower()


class Ca:
    def __init__(self, directory, name="ca"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.name, self.count = name, 0
        self.key_path, self.cert_path = self.directory / f"{name}.key", self.directory / f"{name}.crt"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key_path,
                "-out", self.cert_path, "-days", "30", "-subj", f"/O={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    @property
    def pem(self):
        return self.cert_path.read_text()

    def issue(self, account="good", uri=None, dns=None, days=10, usage="serverAuth,clientAuth", san=None):
        """A leaf whose SAN is spiffe://…/<account>; days < 0 makes an expired one."""
        self.count += 1
        stem = self.directory / f"{self.name}-{self.count}-{account}"
        key, request, cert, extensions = (stem.with_suffix(s) for s in (".key", ".csr", ".crt", ".ext"))
        uri = DOMAIN + account if uri is None else uri
        names = san or ",".join([f"URI:{uri}"] * bool(uri) + [f"DNS:{d}" for d in ([dns] if dns else [])])
        extensions.write_text("basicConstraints=CA:FALSE\nkeyUsage=digitalSignature,keyEncipherment\n"
                              + (f"extendedKeyUsage={usage}\n" if usage else "") + f"subjectAltName={names}\n")
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/O=test/CN={account}")
        if days < 0:
            self._sign_expired(request, cert, extensions)
        else:
            openssl("x509", "-req", "-in", request, "-CA", self.cert_path, "-CAkey", self.key_path, "-CAcreateserial",
                    "-days", days, "-extfile", extensions, "-out", cert)
        return Cert(cert, key, uri)

    def crl(self, *revoked):
        """The list of this CA's revoked certificates, PEM."""
        self.count += 1
        config = self._openssl_ca(self.directory / f"{self.name}-crl-{self.count}", crlnumber="01")
        for cert in revoked:
            openssl("ca", "-batch", "-config", config, "-revoke", cert.chain_path)
        return openssl("ca", "-batch", "-config", config, "-gencrl", "-crldays", "5")

    def ocsp(self, cert, minutes=60):
        """An OCSP response that calls the certificate good for so long, DER."""
        self.count += 1
        work = self.directory / f"{self.name}-ocsp-{self.count}"
        self._openssl_ca(work)
        (work / "index.txt").write_text(f"V\t400101000000Z\t\t{cert.serial().upper()}\tunknown\t/CN=x\n")
        openssl("ocsp", "-issuer", self.cert_path, "-cert", cert.chain_path, "-reqout", work / "request.der", "-no_nonce")
        openssl("ocsp", "-index", work / "index.txt", "-rsigner", self.cert_path, "-rkey", self.key_path, "-CA", self.cert_path,
                "-reqin", work / "request.der", "-respout", work / "response.der", "-nmin", minutes)
        return (work / "response.der").read_bytes()

    def _sign_expired(self, request, cert, extensions):
        config = self._openssl_ca(self.directory / f"expired-{self.count}")
        openssl("ca", "-batch", "-config", config, "-in", request, "-out", cert, "-notext", "-extfile", extensions,
                "-startdate", "20200101000000Z", "-enddate", "20210101000000Z")

    def _openssl_ca(self, work, **files):
        """The configuration of `openssl ca` with a database of its own in that folder."""
        work.mkdir()
        for name, text in {"index.txt": "", "serial": "01\n", **{k: v + "\n" for k, v in files.items()}}.items():
            (work / name).write_text(text)
        config = work / "ca.cnf"
        config.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={work}/index.txt\nserial={work}/serial\nnew_certs_dir={work}\n"
                          + "".join(f"{name}={work}/{name}\n" for name in files) +
                          f"certificate={self.cert_path}\nprivate_key={self.key_path}\ndefault_md=sha256\npolicy=p\n"
                          "[p]\nO=optional\nCN=optional\n")
        return config


def server_context(cert, ca=None, require=False, alpn=None, maximum=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert.chain_path, cert.key_path)
    if ca:
        context.load_verify_locations(ca.cert_path)
        context.verify_mode = ssl.CERT_REQUIRED if require else ssl.CERT_OPTIONAL
    if alpn:
        context.set_alpn_protocols(alpn)
    if maximum:
        context.maximum_version = maximum
    return context


def client_context(cert=None, ca=None, alpn=None, maximum=None):
    """A client that checks the chain when ca is given, never the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if ca:
        context.load_verify_locations(ca.cert_path)
        context.verify_mode = ssl.CERT_REQUIRED
    if cert:
        context.load_cert_chain(cert.chain_path, cert.key_path)
    if alpn:
        context.set_alpn_protocols(alpn)
    if maximum:
        context.maximum_version = maximum
    return context
