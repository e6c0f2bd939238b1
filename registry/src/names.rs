//! Owns names: to which addresses they may resolve, the environment's proxies, and at which address of its own a server
//! was connected to.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::http::literal;
use crate::network;
use crate::zone::Reach;

/// A name that leads to no address within reach.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no address that may be reached")]
pub(crate) struct Outside;

impl Outside {
    /// Whether this is why a request failed.
    pub(crate) fn caused(error: &(dyn std::error::Error + 'static)) -> bool {
        error.is::<Self>() || error.source().is_some_and(Self::caused)
    }
}

/// What is known about names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The hosts of the environment's proxies: they may lie anywhere.
    proxies: BTreeSet<String>,
    /// The addresses that names had when they were resolved here. What is asked by way of a proxy is resolved there.
    found: Mutex<HashSet<(String, IpAddr)>>,
}

impl Names {
    /// With the environment's proxies, where they hold.
    pub(crate) fn new(proxies: bool) -> Self {
        let hosts = network::proxies().filter(|_| proxies).filter_map(|proxy| Some(proxy.host_str()?.to_owned()));
        Self { proxies: hosts.collect(), found: Mutex::default() }
    }

    /// The address of a host, where it is the host itself that was connected to: a proxy's address says nothing of the host's.
    pub(crate) fn address(&self, url: &Url, connected: Option<IpAddr>) -> Option<IpAddr> {
        let address = connected?.to_canonical();
        let own = match (literal(url), url.host_str()) {
            (Some(written), _) => written.to_canonical() == address,
            (None, Some(name)) => self.found().contains(&(name.to_owned(), address)),
            (None, None) => false,
        };
        own.then_some(address)
    }

    /// Whether one of the proxies has this host. They may lie anywhere, so that nobody from outside may name one.
    pub(crate) fn is_proxy(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| self.proxies.contains(host))
    }

    fn found(&self) -> MutexGuard<'_, HashSet<(String, IpAddr)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves names only to addresses within reach; a proxy's to any.
pub(crate) struct Guarded(Reach, Arc<Names>);

impl Guarded {
    pub(crate) fn new(reach: Reach, names: Arc<Names>) -> Self {
        Self(reach, names)
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, names) = (self.0, self.1.clone());
        let reach = if names.proxies.contains(name.as_str()) { Reach::Named } else { reach };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| reach.allows(address.ip())).collect();
            names.found().extend(allowed.iter().map(|address| (name.as_str().to_owned(), address.ip().to_canonical())));
            match allowed.is_empty() {
                true => Err(Outside.into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Zone;

    impl Names {
        /// With a proxy at this host.
        pub(crate) fn with_proxy(host: &str) -> Self {
            Self { proxies: BTreeSet::from([host.to_owned()]), ..Self::default() }
        }
    }

    #[tokio::test]
    async fn names_resolve_only_within_reach() {
        let names = Arc::<Names>::default();
        let resolve = async |reach, names: &Arc<Names>| {
            Guarded(reach, names.clone()).resolve("localhost".parse().unwrap()).await.is_ok()
        };
        let public = Reach::Beside(Zone::Public);
        assert!(!resolve(public, &names).await && !resolve(Reach::Beside(Zone::Private), &names).await);
        let (url, address) = (Url::parse("http://localhost/").unwrap(), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(names.address(&url, address), None, "it was not resolved to that here");
        assert!(resolve(Reach::Named, &names).await && resolve(Reach::Beside(Zone::Loopback), &names).await);
        assert_eq!(names.address(&url, address), address);
        assert_eq!(names.address(&Url::parse("http://127.0.0.2/").unwrap(), address), None);
        assert!(resolve(Reach::At(address), &names).await);
        assert!(!resolve(Reach::At(None), &names).await && !resolve(Reach::At("10.0.0.1".parse().ok()), &names).await);
        assert!(resolve(public, &Arc::new(Names::with_proxy("localhost"))).await);
    }
}
