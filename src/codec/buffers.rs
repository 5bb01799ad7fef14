//! Buffers of a stream that are used again: filled with zeros once, not for every block.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The buffers of one stream. Clones share them; they are freed with the last clone.
#[derive(Clone, Default)]
pub(super) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Buffers {
    /// A buffer of that length at least, with anything in it.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        if buffer.len() < length {
            // Growing would copy what nobody needs.
            drop(buffer);
            buffer = vec![0; length];
        }
        buffer
    }

    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// The first `length` bytes of a buffer, which comes back when the last of them is dropped.
    pub(super) fn lend(&self, buffer: Vec<u8>, length: usize) -> Bytes {
        Bytes::from_owner(Lent { length: length.min(buffer.len()), buffer, home: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lent_comes_back_when_it_is_dropped() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(10);
        buffer[0] = 7;
        let lent = buffers.lend(buffer, 3);
        assert_eq!(lent, [7, 0, 0].as_slice());
        assert!(buffers.idle.lock().unwrap().is_empty());
        drop(lent);
        assert_eq!(buffers.take(5).len(), 10, "the same one");
        assert_eq!(buffers.take(5).len(), 5, "a new one");
    }
}
