//! Owns TLS before a hostile server: with a certificate of its own, which names its address and speaks for nobody else.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{command, isolate, peers};

const CONFIGURATION: &str = "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n\
                             [name]\nCN = registry\n[extensions]\nsubjectAltName = IP:127.0.0.1\n\
                             basicConstraints = critical, CA:FALSE\nextendedKeyUsage = serverAuth\n";

/// The certificate of every hostile server that speaks TLS, as PEM, and its key; or what is missing to make it.
pub fn certificate() -> Result<(PathBuf, PathBuf), String> {
    let openssl = peers::program("openssl").ok_or("openssl is missing: run `make setup`")?;
    let file = |name: &str| isolate::dir().join(format!("hostile-tls.{name}"));
    let (certificate, key, configuration) = (file("pem"), file("key"), file("cnf"));
    if !certificate.exists() {
        std::fs::write(&configuration, CONFIGURATION).map_err(|error| error.to_string())?;
        let mut command = Command::new(openssl);
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
        ]);
        command.arg("-config").arg(configuration).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        command::run(&mut command, Duration::from_secs(30)).ok();
    }
    Ok((certificate, key))
}

/// How a server that has this certificate answers.
pub(super) fn server(certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(certificate).expect("the certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("its key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let server = versions.expect("TLS").with_no_client_auth().with_single_cert(vec![certificate], key);
    Arc::new(server.expect("a certificate and its key"))
}

/// A client's connection: as it comes, or with TLS.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let connection = ServerConnection::new(Arc::clone(tls)).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// Says that nothing follows: without that, a client takes the end for a cut.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
