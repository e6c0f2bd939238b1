//! Hands out a blob piece by piece, with its size and digest checked: the receiver must treat every error, also one after
//! the last piece, as "throw away what came".

use std::fs::File;
use std::io::Read;

use bestfit_selector::digest::Digest;
use bytes::Bytes;
use futures_util::Stream;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::http::Reply;

const PIECE: usize = 256 << 10;

/// A blob that is being read.
pub struct BlobStream {
    from: From,
    what: String,
    digest: Digest,
    declared: u64,
    left: u64,
    hasher: Sha256,
    done: bool,
}

enum From {
    Network(Box<Reply>),
    File(File),
}

impl BlobStream {
    pub(crate) fn network(reply: Reply, digest: Digest, size: u64, what: String) -> Result<Self, Error> {
        match reply.declared() {
            Some(declared) if declared != size => Err(Error::WrongSize { what, declared: size }),
            _ => Ok(Self::new(From::Network(Box::new(reply)), digest, size, what)),
        }
    }

    pub(crate) fn file(file: File, digest: Digest, size: u64, what: String) -> Self {
        Self::new(From::File(file), digest, size, what)
    }

    fn new(from: From, digest: Digest, size: u64, what: String) -> Self {
        Self { from, what, digest, declared: size, left: size, hasher: Sha256::new(), done: false }
    }

    /// The next piece; `None` once, after all bytes were there and had the digest.
    ///
    /// # Errors
    /// Transport errors, more or fewer bytes than declared, another digest. After an error only `None` comes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.done {
            return Ok(None);
        }
        let step = self.step().await;
        self.done = !matches!(step, Ok(Some(_)));
        step
    }

    /// The same as a stream, for `tonic` and its like.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::unfold(self, |mut blob| async move { Some((blob.chunk().await.transpose()?, blob)) })
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = match &mut self.from {
            From::Network(reply) => reply.chunk().await?,
            From::File(file) => piece_of(file, &self.what)?,
        };
        let wrong_size = || Error::WrongSize { what: self.what.clone(), declared: self.declared };
        let Some(piece) = piece else {
            if self.left > 0 {
                return Err(wrong_size());
            }
            let got = Digest::from(<[u8; 32]>::from(self.hasher.finalize_reset()));
            return match got == self.digest {
                true => Ok(None),
                false => Err(Error::DigestMismatch { what: self.what.clone(), expected: self.digest, got }),
            };
        };
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(wrong_size)?;
        self.hasher.update(&piece);
        Ok(Some(piece))
    }
}

fn piece_of(file: &mut File, what: &str) -> Result<Option<Bytes>, Error> {
    let mut buffer = vec![0; PIECE];
    let failed = |error: std::io::Error| Error::Malformed { what: what.to_owned(), why: error.to_string() };
    let count = file.read(&mut buffer).map_err(failed)?;
    buffer.truncate(count);
    Ok((count > 0).then(|| Bytes::from(buffer)))
}
