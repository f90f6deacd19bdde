"""The keys, certificates and client files of one cluster, made again for every run.

Pure but for writing files. A cluster trusts its own authority only, so that a mixed-up kubeconfig fails as
it would between real clusters. The next module is `clusters`.
"""

import base64
import datetime
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ADMIN_GROUP = "system:masters"
LIFETIME = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM."""
        return private_pem(self.key)


@dataclass(frozen=True)
class ClusterFiles:
    """Where the files of one cluster are, and its bearer token."""

    directory: Path
    token: str

    def path(self, name: str) -> Path:
        """The file of that name."""
        return self.directory / name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, with its client certificate in it."""
        return self.path("admin.kubeconfig")


def write_cluster_files(directory: Path, *, cluster: str, server: str, service_address: str) -> ClusterFiles:
    """Make the authority, the serving and administrator's certificates, keys, token and kubeconfigs."""
    directory.mkdir(parents=True, exist_ok=True)
    files = ClusterFiles(directory, secrets.token_urlsafe(24))
    authority = make_authority(f"{cluster}-ca")
    serving = issue(
        authority,
        "kube-apiserver",
        hosts=("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
        addresses=("127.0.0.1", service_address),
    )
    admin = issue(authority, "hanse-admin", group=ADMIN_GROUP)
    service_accounts = ec.generate_private_key(ec.SECP256R1())
    contents = {
        "ca.crt": authority.certificate_pem,
        "ca.key": authority.key_pem,
        "apiserver.crt": serving.certificate_pem,
        "apiserver.key": serving.key_pem,
        "admin.crt": admin.certificate_pem,
        "admin.key": admin.key_pem,
        "sa.key": private_pem(service_accounts),
        "sa.pub": service_accounts.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "tokens.csv": f'{files.token},hanse-admin,hanse-admin,"{ADMIN_GROUP}"\n'.encode(),
        "admin.kubeconfig": _kubeconfig(
            cluster,
            server,
            authority.certificate_pem,
            {
                "client-certificate-data": _base64(admin.certificate_pem),
                "client-key-data": _base64(admin.key_pem),
            },
        ),
        "token.kubeconfig": _kubeconfig(cluster, server, authority.certificate_pem, {"token": files.token}),
    }
    for name, content in contents.items():
        file = files.path(name)
        file.touch(mode=0o600)
        file.write_bytes(content)
    return files


def make_authority(name: str) -> Identity:
    """A self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Identity(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Identity,
    name: str,
    *,
    group: str = "",
    hosts: tuple[str, ...] = (),
    addresses: tuple[str, ...] = (),
) -> Identity:
    """A client certificate for user `name` in `group`; with hosts or addresses, a serving certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    if group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    serving = bool(hosts or addresses)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if serving else ExtendedKeyUsageOID.CLIENT_AUTH
    signer = authority.key.public_key()
    builder = (
        _builder(x509.Name(attributes), authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    if serving:
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Identity(builder.sign(authority.key, hashes.SHA256()), key)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
    )


def _kubeconfig(cluster: str, server: str, authority_pem: bytes, user: dict[str, str]) -> bytes:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": cluster,
                    "cluster": {"server": server, "certificate-authority-data": _base64(authority_pem)},
                }
            ],
            "users": [{"name": f"{cluster}-admin", "user": user}],
            "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": f"{cluster}-admin"}}],
            "current-context": cluster,
        },
        sort_keys=False,
    ).encode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
