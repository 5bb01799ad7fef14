//! Whether a snapshot is whole: each server puts a checksum into what it gives out, and it is compared as the bytes pass, on
//! their way to storage and again on their way back.

mod consul;
mod etcd;
mod zookeeper;

pub use consul::ConsulArchive;
pub(crate) use consul::hex;
pub use etcd::EtcdDatabase;
#[cfg(test)]
pub(crate) use zookeeper::tests as tests_of_zookeeper;
pub use zookeeper::{LogRecords, ZookeeperLog, ZookeeperSnapshot};

use crate::backup::topology::{Point, TopologyServer};

/// Looks at the bytes of one object as they pass.
pub trait Check: Send {
    /// The next bytes.
    ///
    /// # Errors
    /// As soon as they cannot be part of a whole one; the words of why.
    fn take(&mut self, chunk: &[u8]) -> Result<(), String>;

    /// There are no more.
    ///
    /// # Errors
    /// When it is cut short, or its checksum is another.
    fn finish(self: Box<Self>) -> Result<Learned, String>;
}

/// What a snapshot itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    pub point: Point,
}

/// The check for a stored object of this name.
pub fn of(server: TopologyServer, object: &str) -> Box<dyn Check> {
    match server {
        TopologyServer::Etcd => Box::new(EtcdDatabase::default()),
        TopologyServer::Consul => Box::new(ConsulArchive::default()),
        TopologyServer::Zookeeper if object.starts_with("log.") => Box::new(ZookeeperLog::default()),
        TopologyServer::Zookeeper => Box::new(ZookeeperSnapshot::default()),
    }
}

/// Bytes of which the last `N` are held back, because they are the checksum of those before.
#[derive(Clone, Debug)]
struct HeldBack<const N: usize> {
    held: Vec<u8>,
}

impl<const N: usize> Default for HeldBack<N> {
    fn default() -> Self {
        Self { held: Vec::with_capacity(2 * N) }
    }
}

impl<const N: usize> HeldBack<N> {
    /// Gives `pass` all but the last `N` bytes of what came so far.
    fn push(&mut self, chunk: &[u8], mut pass: impl FnMut(&[u8])) {
        if chunk.len() >= N {
            pass(&self.held);
            let (before, last) = chunk.split_at(chunk.len() - N);
            pass(before);
            self.held.clear();
            self.held.extend_from_slice(last);
            return;
        }
        self.held.extend_from_slice(chunk);
        let surplus = self.held.len().saturating_sub(N);
        pass(&self.held[..surplus]);
        self.held.drain(..surplus);
    }

    /// The last `N` bytes; `None` when there were fewer.
    fn last(&self) -> Option<[u8; N]> {
        self.held.as_slice().try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_held_back_however_the_rest_is_cut() {
        let whole: Vec<u8> = (0..=99).collect();
        for size in [1, 3, 4, 5, 50, 100] {
            let (mut held, mut passed) = (HeldBack::<4>::default(), Vec::new());
            whole.chunks(size).for_each(|chunk| held.push(chunk, |bytes| passed.extend_from_slice(bytes)));
            assert_eq!((passed.as_slice(), held.last()), (&whole[..96], Some([96, 97, 98, 99])), "{size}");
        }
        let mut short = HeldBack::<4>::default();
        short.push(&[1, 2], |bytes| assert!(bytes.is_empty()));
        assert_eq!(short.last(), None);
    }
}
