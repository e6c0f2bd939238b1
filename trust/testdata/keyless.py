#!/usr/bin/env python3
"""Makes the keyless samples beside it: a small certificate authority, log of certificates, transparency log and time-stamping
authority, their trusted_root.json, and two bundles about subject.json: one logged, one stamped. With a digest in hex and a directory as
arguments, as the end-to-end tests call it: about that digest, as logged.json and stamped.json in that directory. Needs the Python package
`cryptography` and openssl. The keys are forgotten: to change one file, make all of them anew."""
import base64, datetime, hashlib, json, pathlib, struct, subprocess, sys, tempfile
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
CENTURY = NOW + datetime.timedelta(days=36500)
START = (NOW - datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
IDENTITY, ISSUER = "https://lab.example/workflow", "https://issuer.lab.example"


def b64(data):
    return base64.b64encode(data).decode()


def key():
    return ec.generate_private_key(ec.SECP256R1())


def sign(private, data):
    return private.sign(data, ec.ECDSA(hashes.SHA256()))


def spki(private):
    return private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def der(certificate):
    return certificate.public_bytes(serialization.Encoding.DER)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lab"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


def builder(subject, issuer, public, start, end, serial):
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    return made.not_valid_before(start).not_valid_after(end).serial_number(serial)


def root(text):
    private = key()
    made = builder(name(text), name(text), private.public_key(), NOW - datetime.timedelta(days=1), CENTURY, 1)
    made = made.add_extension(x509.BasicConstraints(True, None), True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return private, made.add_extension(usage, True).sign(private, hashes.SHA256())


def leaf(private, ca_key, ca, log_key):
    """A certificate for ten minutes, with the log's promise (RFC 6962, 3.2) over it."""
    made = builder(x509.Name([]), ca.subject, private.public_key(), NOW, NOW + datetime.timedelta(minutes=10), 2)
    made = made.add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), True)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
    made = made.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(IDENTITY)]), True)
    fulcio = "1.3.6.1.4.1.57264.1"
    made = made.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(fulcio + ".1"), ISSUER.encode()), False)
    text = bytes([0x0C, len(ISSUER)]) + ISSUER.encode()
    made = made.add_extension(x509.UnrecognizedExtension(ObjectIdentifier(fulcio + ".8"), text), False)
    tbs = made.sign(ca_key, hashes.SHA256()).tbs_certificate_bytes
    millis = struct.pack(">Q", int(NOW.timestamp()) * 1000)
    entry = b"\0\1" + hashlib.sha256(spki(ca_key)).digest() + struct.pack(">I", len(tbs))[1:] + tbs
    signature = sign(log_key, b"\0\0" + millis + entry + b"\0\0")
    promise = b"\0" + hashlib.sha256(spki(log_key)).digest() + millis + b"\0\0" + b"\4\3" + struct.pack(">H", len(signature)) + signature
    promises = struct.pack(">H", len(promise)) + promise
    promises = struct.pack(">H", len(promises)) + promises
    octets = bytes([0x04, len(promises)]) if len(promises) < 128 else bytes([0x04, 0x81, len(promises)])
    extension = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), octets + promises)
    return made.add_extension(extension, False).sign(ca_key, hashes.SHA256())


def envelope(private, subject):
    statement = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": subject}}],
                 "predicateType": "https://sigstore.dev/cosign/sign/v1", "predicate": {}}
    payload, kind = json.dumps(statement).encode(), b"application/vnd.in-toto+json"
    signature = sign(private, b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    return payload, signature, {"payload": b64(payload), "payloadType": kind.decode(), "signatures": [{"sig": b64(signature)}]}


def canonical(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def logged(payload, signature, certificate, log_key):
    """An entry of Rekor v1 in a tree of two, with promise, proof and checkpoint."""
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    body = canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
        "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
        "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
        "signatures": [{"signature": b64(signature), "verifier": b64(pem)}]}})
    time, log = int(NOW.timestamp()), hashlib.sha256(spki(log_key)).digest()
    promise = sign(log_key, canonical({"body": b64(body), "integratedTime": time, "logID": log.hex(), "logIndex": 1}))
    first, second = hashlib.sha256(b"\0other").digest(), hashlib.sha256(b"\0" + body).digest()
    top = hashlib.sha256(b"\1" + first + second).digest()
    note = "log.lab.example - 1\n2\n%s\n" % b64(top)
    checkpoint = "%s\n\u2014 log.lab.example %s\n" % (note, b64(log[:4] + sign(log_key, note.encode())))
    return {"logIndex": "1", "logId": {"keyId": b64(log)}, "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time), "inclusionPromise": {"signedEntryTimestamp": b64(promise)},
            "inclusionProof": {"logIndex": "1", "rootHash": b64(top), "treeSize": "2", "hashes": [b64(first)],
                               "checkpoint": {"envelope": checkpoint}}, "canonicalizedBody": b64(body)}


def stamp(signature, clock_key, clock):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        (work / "signature").write_bytes(signature)
        (work / "key").write_bytes(clock_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        (work / "crt").write_bytes(clock.public_bytes(serialization.Encoding.PEM))
        (work / "serial").write_text("01")
        (work / "cnf").write_text("[tsa]\ndefault_tsa=clock\n[clock]\nserial=serial\nsigner_cert=crt\nsigner_key=key\n"
                                  "signer_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\ness_cert_id_alg=sha256\n")
        run = lambda *words: subprocess.run(["openssl", "ts", *words], cwd=work, check=True, capture_output=True)
        run("-query", "-data", "signature", "-sha256", "-out", "query")
        run("-reply", "-config", "cnf", "-queryfile", "query", "-out", "reply")
        return (work / "reply").read_bytes()


def authority(certificates):
    return {"subject": {"organization": "Lab", "commonName": "lab"}, "uri": "https://lab.example",
            "certChain": {"certificates": [{"rawBytes": b64(der(one))} for one in certificates]}, "validFor": {"start": START}}


def log(private):
    identity = hashlib.sha256(spki(private)).digest()
    return {"baseUrl": "https://log.lab.example", "hashAlgorithm": "SHA2_256", "logId": {"keyId": b64(identity)}, "publicKey": {
        "rawBytes": b64(spki(private)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": {"start": START}}}


def keep(sample, bundle, subject):
    blob = json.dumps(bundle).encode()
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    manifest = json.loads((HERE / "bundle-p256" / "manifest.json").read_bytes())
    manifest["layers"] = [{"mediaType": kind, "size": len(blob), "digest": "sha256:" + hashlib.sha256(blob).hexdigest()}]
    assert manifest["subject"]["digest"] == "sha256:" + subject
    directory = HERE / sample
    directory.mkdir(exist_ok=True)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    (directory / "signature").write_bytes(blob)


def make(subject):
    """The logged bundle, the stamped one, and the trusted root for both."""
    (ca_key, ca), (clock_root_key, clock_root) = root("authority"), root("clock root")
    signer, ct_log, rekor, clock_key = key(), key(), key(), key()
    certificate = leaf(signer, ca_key, ca, ct_log)
    clock = builder(name("clock"), clock_root.subject, clock_key.public_key(), NOW - datetime.timedelta(days=1), CENTURY, 3)
    clock = clock.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True).sign(clock_root_key, hashes.SHA256())
    payload, signature, dsse = envelope(signer, subject)
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    material = {"certificate": {"rawBytes": b64(der(certificate))}}
    entry = logged(payload, signature, certificate, rekor)
    stamps = {"rfc3161Timestamps": [{"signedTimestamp": b64(stamp(signature, clock_key, clock))}]}
    bundle = lambda proof: {"mediaType": kind, "verificationMaterial": {**material, **proof}, "dsseEnvelope": dsse}
    trusted = {
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1", "tlogs": [log(rekor)],
        "certificateAuthorities": [authority([ca])], "ctlogs": [log(ct_log)],
        "timestampAuthorities": [authority([clock, clock_root])]}
    return bundle({"tlogEntries": [entry]}), bundle({"timestampVerificationData": stamps}), trusted


def main():
    if len(sys.argv) == 3:
        files = zip(("logged.json", "stamped.json", "trusted_root.json"), make(sys.argv[1]))
        return [(pathlib.Path(sys.argv[2]) / file).write_text(json.dumps(content)) for file, content in files]
    subject = hashlib.sha256((HERE / "subject.json").read_bytes()).hexdigest()
    by_log, by_clock, trusted = make(subject)
    keep("keyless-log", by_log, subject)
    keep("keyless-tsa", by_clock, subject)
    (HERE / "trusted_root.json").write_text(json.dumps(trusted))


main()
