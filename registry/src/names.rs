//! Owns names: to which addresses they may resolve, the environment's proxies, and in which network a server lies that was
//! connected to.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::http::literal;
use crate::network;
use crate::zone::{Reach, Zone};

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

    /// The network of a host, where it is the host itself that was connected to; else a public one, from which nothing follows:
    /// a proxy's address says nothing of the host's.
    pub(crate) fn zone(&self, url: &Url, connected: Option<IpAddr>) -> Zone {
        let Some(address) = connected.map(|address| address.to_canonical()) else { return Zone::Public };
        let own = match (literal(url), url.host_str()) {
            (Some(written), _) => written.to_canonical() == address,
            (None, Some(name)) => self.found().contains(&(name.to_owned(), address)),
            (None, None) => false,
        };
        if own { Zone::of(address) } else { Zone::Public }
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
                true => Err("its addresses lie in a network in which the registry does not lie".into()),
                false => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_resolve_only_within_reach() {
        let names = Arc::<Names>::default();
        let resolve = async |reach, names: &Arc<Names>| {
            Guarded(reach, names.clone()).resolve("localhost".parse().unwrap()).await.is_ok()
        };
        let public = Reach::Beside(Zone::Public);
        assert!(!resolve(public, &names).await && !resolve(Reach::Beside(Zone::Private), &names).await);
        let (url, address) = (Url::parse("http://localhost/").unwrap(), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(names.zone(&url, address), Zone::Public, "it was not resolved to that here");
        assert!(resolve(Reach::Named, &names).await && resolve(Reach::Beside(Zone::Loopback), &names).await);
        assert_eq!(names.zone(&url, address), Zone::Loopback);
        assert_eq!(names.zone(&Url::parse("http://127.0.0.2/").unwrap(), address), Zone::Public);
        let proxies = BTreeSet::from(["localhost".to_owned()]);
        assert!(resolve(public, &Arc::new(Names { proxies, ..Names::default() })).await);
    }
}
