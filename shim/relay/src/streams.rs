//! Owns the stream ids of one connection: containerd's, and those that the delegate sees in their place. Go's ttrpc server
//! refuses an id that is not above the last one, and a held Create goes on after later requests.

/// The streams that are under way.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The delegate's next id: odd, as a client's are, and rising.
    next: u32,
    /// containerd's ids and the delegate's.
    pairs: Vec<(u32, u32)>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { next: 1, pairs: Vec::new() }
    }
}

impl Streams {
    /// The delegate's id for a new stream of containerd's.
    pub(crate) fn begin(&mut self, client: u32) -> u32 {
        let stream = self.next;
        self.next = stream.wrapping_add(2);
        self.pairs.push((client, stream));
        stream
    }

    /// The delegate's id for one of containerd's, the last one that was given for it.
    pub(crate) fn delegates(&self, client: u32) -> Option<u32> {
        self.pairs.iter().rev().find(|(from, _)| *from == client).map(|(_, to)| *to)
    }

    /// containerd's id for one of the delegate's; a response, which `ends` says, is the last frame of its stream.
    pub(crate) fn containerds(&mut self, upstream: u32, ends: bool) -> Option<u32> {
        let at = self.pairs.iter().position(|(_, to)| *to == upstream)?;
        let (client, _) = if ends { self.pairs.swap_remove(at) } else { self.pairs[at] };
        Some(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_are_forgotten_with_the_response() {
        let mut streams = Streams::default();
        assert_eq!([9, 5, 9].map(|client| streams.begin(client)), [1, 3, 5]);
        assert_eq!((streams.delegates(9), streams.delegates(5), streams.delegates(7)), (Some(5), Some(3), None));
        assert_eq!((streams.containerds(3, false), streams.containerds(3, true)), (Some(5), Some(5)));
        assert_eq!((streams.containerds(3, true), streams.delegates(5)), (None, None));
        assert_eq!((streams.containerds(1, true), streams.containerds(5, true)), (Some(9), Some(9)));
    }
}
