#!/usr/bin/env bash
# Makes the samples beside it with cosign, notation, oras and openssl against a registry and a time-stamping authority of
# its own on 127.0.0.1. Needs `make setup`, jq, curl, python3. Private keys stay in a directory that is removed at the end:
# to change one sample, make all of them anew.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${BESTFIT_PEERS:-$here/../../target/peers}
peers=$(cd "$peers" && pwd)
PATH=$peers/forky/root/usr/bin:$peers/bin:$PATH
work=$(mktemp -d)
export HOME=$work COSIGN_PASSWORD='' XDG_CONFIG_HOME=$work
host=127.0.0.1:5991
tsa=http://127.0.0.1:5992
cd "$work"

FERRO_OCI_LISTEN=$host RUST_LOG=warn ferro-oci-server >registry.log 2>&1 &
registry=$!
trap 'kill $registry ${authority:-} 2>/dev/null; rm -rf "$work"' EXIT

# --- keys -------------------------------------------------------------------------------------------------------------
for curve in p256:P-256 p384:P-384 p521:P-521; do
  openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:${curve#*:}" -pkeyopt ec_param_enc:named_curve -out "${curve%:*}.pem"
done
openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pem 2>/dev/null ||
  openssl genrsa -out rsa.pem 2048 2>/dev/null
openssl genrsa -out rsa1024.pem 1024 2>/dev/null
openssl genpkey -algorithm ed25519 -out ed25519.pem
mkdir -p "$here/keys"
for key in p256 p384 p521 rsa rsa1024 ed25519; do
  openssl pkey -in $key.pem -pubout -out "$here/keys/$key.pub"
done

# --- a small certificate authority: roots for a century, leaves for ten years -------------------------------------------
certify() { # NAME SUBJECT ISSUER DAYS EXTENSIONS [SERIAL]
  local name=$1 subject=$2 issuer=$3 days=$4 extensions=$5 serial=(-CAcreateserial)
  [[ -z ${6:-} ]] || serial=(-set_serial "$6")
  openssl req -new -key "$name.key" -subj "$subject" -out "$name.csr"
  printf '%b' "$extensions" >"$name.ext"
  if [[ $issuer == "$name" ]]; then
    openssl x509 -req -in "$name.csr" -signkey "$name.key" -days "$days" -extfile "$name.ext" -out "$name.crt" 2>/dev/null
  else
    openssl x509 -req -in "$name.csr" -CA "$issuer.crt" -CAkey "$issuer.key" "${serial[@]}" -days "$days" \
      -extfile "$name.ext" -out "$name.crt" 2>/dev/null
  fi
}
ec() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve -out "$1.key"; }
ca='basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
signer='basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nsubjectAltName=email:signer@lab.example,URI:https://lab.example/signer,DNS:signer.lab.example\n'
stamper='basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n'
for name in root intermediate leaf other-root tsa-root tsa web alone; do ec $name; done
cp rsa.pem leaf-rsa.key
cp rsa.pem tsa-rsa.key
cp p384.pem leaf-p384.key
certify root '/C=DE/ST=BE/O=Lab/CN=Lab root' root 36500 "$ca"
certify other-root '/C=DE/ST=BE/O=Other/CN=Other root' other-root 36500 "$ca"
certify intermediate '/C=DE/ST=BE/O=Lab/CN=Lab intermediate' root 36500 "$ca"
for leaf in leaf leaf-rsa leaf-p384; do
  certify $leaf '/C=DE/ST=BE/O=Lab/OU=HPC/CN=signer' intermediate 3650 "$signer"
done
certify web '/C=DE/ST=BE/O=Lab/CN=web' intermediate 3650 "${signer/codeSigning/serverAuth}"
certify tsa-root '/C=DE/ST=BE/O=Clock/CN=Clock root' tsa-root 36500 "$ca"
certify alone '/C=DE/ST=BE/O=Lab/CN=alone' alone 3650 "$signer"
certify tsa '/C=DE/ST=BE/O=Clock/CN=tsa' tsa-root 36500 "$stamper" 77
certify tsa-rsa '/C=DE/ST=BE/O=Clock/CN=tsa-rsa' tsa-root 36500 "$stamper"
# The same key, issuer and serial number, and a purpose that is not critical.
cp tsa.key tsa-loose.key
certify tsa-loose '/C=DE/ST=BE/O=Clock/CN=tsa' tsa-root 36500 "${stamper/critical,timeStamping/timeStamping}" 77
mkdir -p "$here/certificates"
cp root.crt intermediate.crt leaf.crt other-root.crt tsa-root.crt tsa.crt tsa-loose.crt web.crt alone.crt "$here/certificates/"
cat intermediate.crt root.crt >chain.pem

# --- a time-stamping authority: `openssl ts` behind HTTP ----------------------------------------------------------------
echo 01 >tsa.serial
for stamp in tsa tsa-rsa; do
  cat >$stamp.cnf <<EOF
[tsa]
default_tsa = clock
[clock]
serial = $work/tsa.serial
signer_cert = $work/$stamp.crt
signer_key = $work/$stamp.key
certs = $work/tsa-root.crt
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
EOF
done
cat >clock.py <<'EOF'
import http.server, subprocess
class Clock(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        open("query.tsq", "wb").write(body)
        config = "tsa-rsa.cnf" if "rsa" in self.path else "tsa.cnf"
        subprocess.run(["openssl", "ts", "-reply", "-config", config, "-queryfile", "query.tsq", "-out", "reply.tsr"], check=True)
        reply = open("reply.tsr", "rb").read()
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)
http.server.HTTPServer(("127.0.0.1", 5992), Clock).serve_forever()
EOF
python3 clock.py >clock.log 2>&1 &
authority=$!
for _ in $(seq 50); do curl -s -o registry.up "http://$host/v2/" && break || sleep 0.1; done

# --- what is signed: the same artifact in a repository for each sample ---------------------------------------------------
echo '{"solver": "lab"}' >document.json
none=(--no-default-fulcio --no-default-oidc --no-default-rekor --no-default-tsa)
cosign signing-config create "${none[@]}" --out offline.json
cosign signing-config create "${none[@]}" --out stamped.json \
  --tsa="url=$tsa/stamp,api-version=1,start-time=2024-01-01T00:00:00Z,operator=lab" --tsa-config=EXACT:1
push() {
  oras push --plain-http "$host/lab/$1:v1" --artifact-type application/vnd.example.lab \
    --annotation org.opencontainers.image.created=2026-01-01T00:00:00Z document.json:application/json >push.log
  subject=$(oras resolve --plain-http "$host/lab/$1:v1")
}
keep() { # NAME MANIFEST: the manifest and its only layer
  mkdir -p "$here/$1"
  oras manifest fetch --plain-http "$host/lab/$1@$2" --output "$here/$1/manifest.json"
  oras blob fetch --plain-http "$host/lab/$1@$(jq -r '.layers[0].digest' "$here/$1/manifest.json")" --output "$here/$1/signature"
}
keep_referrer() {
  keep "$1" "$(curl -s "http://$host/v2/lab/$1/referrers/$subject" | jq -r '.manifests[-1].digest')"
}
sign() { # NAME KEY OPTION...: in the new form
  local name=$1 key=$2
  shift 2
  push "$name"
  cosign sign --allow-http-registry --key "$key" -y "$@" "$host/lab/$name@$subject" >>cosign.log 2>&1
  keep_referrer "$name"
}
sign_old() {
  local name=$1 key=$2
  shift 2
  push "$name"
  cosign sign --allow-http-registry --key "$key" --use-signing-config=false --new-bundle-format=false --tlog-upload=false \
    -y "$@" "$host/lab/$name@$subject" >>cosign.log 2>&1
  keep "$name" "$(oras resolve --plain-http "$host/lab/$name:${subject/:/-}.sig")"
}
trap 'tail -n 20 "$work"/*.log; kill $registry ${authority:-} 2>/dev/null; rm -rf "$work"' EXIT
for key in p256 p384 rsa ed25519; do
  cosign import-key-pair --key $key.pem --output-key-prefix cosign-$key -y >>cosign.log 2>&1
  sign bundle-$key cosign-$key.key --signing-config offline.json
  sign_old simple-$key cosign-$key.key
done
cosign import-key-pair --key leaf.key --output-key-prefix cosign-leaf -y >>cosign.log 2>&1
certificate=(--certificate leaf.crt --certificate-chain chain.pem)
sign bundle-certificate cosign-leaf.key --signing-config offline.json "${certificate[@]}"
sign bundle-certificate-tsa cosign-leaf.key --signing-config stamped.json "${certificate[@]}"
sign_old simple-certificate cosign-leaf.key "${certificate[@]}"

push attestation
echo '{"said": "anything"}' >predicate.json
cosign attest --allow-http-registry --key cosign-p256.key --signing-config offline.json --type custom \
  --predicate predicate.json -y "$host/lab/attestation@$subject" >>cosign.log 2>&1
keep_referrer attestation

# --- notation -----------------------------------------------------------------------------------------------------------
mkdir -p notation
cp alone.crt alone.chain
for leaf in leaf leaf-rsa leaf-p384; do cat $leaf.crt intermediate.crt root.crt >$leaf.chain; done
jq -n --arg w "$work" '{default: "leaf", keys: [("leaf", "leaf-rsa", "leaf-p384", "alone") |
  {name: ., keyPath: "\($w)/\(.).key", certPath: "\($w)/\(.).chain"}]}' >notation/signingkeys.json
notarize() { # NAME KEY FORMAT OPTION...
  local name=$1 key=$2 format=$3
  shift 3
  push "$name"
  notation sign --insecure-registry --force-referrers-tag=false --key "$key" --signature-format "$format" "$@" \
    "$host/lab/$name@$subject" >>notation.log 2>&1
  keep_referrer "$name"
}
for format in jws cose; do
  notarize notation-$format-p256 leaf $format
  notarize notation-$format-p384 leaf-p384 $format
  notarize notation-$format-alone alone $format
  notarize notation-$format-rsa leaf-rsa $format
  notarize notation-$format-tsa leaf $format --timestamp-url "$tsa/rsa" --timestamp-root-cert tsa-root.crt
  notarize notation-$format-expiry leaf $format --expiry 24h
done
oras manifest fetch --plain-http "$host/lab/bundle-p256@$subject" --output "$here/subject.json"
trap 'kill $registry ${authority:-} 2>/dev/null; rm -rf "$work"' EXIT
echo "made: $(find "$here" -type f | wc -l) files, all about $subject"
