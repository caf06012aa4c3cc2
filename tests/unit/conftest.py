"""Certificates, made by openssl for one run of the tests."""

import pathlib
import ssl
import subprocess
import types

import pytest


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Give what TLS needs on both sides.

    `ca` is the path of the CA that made the others, `other_ca` one that made none; `server(name)` gives a context with
    a certificate for the DNS name or, beginning with a digit, the address.
    """
    directory = tmp_path_factory.mktemp("certificates")

    def request(name, *words):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        argv = ["openssl", "req", "-x509", "-days", "2", *key, "-out", f"{name}.pem", *words]
        subprocess.run(argv, cwd=directory, check=True, capture_output=True, timeout=20)
        return str(directory / f"{name}.pem")

    made = {}

    def server(name):
        if name not in made:
            kind = "IP" if name[0].isdigit() else "DNS"
            words = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}"]
            leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key"]
            made[name] = request(name, *words, *leaf)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made[name], str(pathlib.Path(made[name]).with_suffix(".key")))
        return context

    ca, other_ca = (request(name, "-subj", f"/CN={name}") for name in ("ca", "other-ca"))
    return types.SimpleNamespace(ca=ca, other_ca=other_ca, server=server)
