//! Blocks that Vitess can read on every machine.
//!
//! Vitess reads lz4 with `pierrec/lz4` 2.6.1. Its decoder for amd64 (`decode_amd64.s`, at `memmove_lit`) keeps all of a token's
//! register but the lowest byte across a call of Go's `memmove`. Where that function copies with `REP MOVSQ`, which it does
//! for 2048 bytes and more to an aligned place on processors on which that is fast (Intel's since Ice Lake; without AVX on
//! any), the register comes back with an address in it, the next match seems to have an enormous length, and the restore
//! fails with `lz4: invalid source or destination buffer too short`. What Vitess writes itself can meet that too.
//!
//! So no run of literals of that length begins at an aligned place of a block when a match follows it. A block begins at an
//! aligned address there. Mostly the match before gives a byte to the run; where there is none, the block ends with the run.

/// From this length on a run is copied in the other way.
const LONG: usize = 2048;
/// Of the places at which it is; 16 in today's Go, 8 before.
const ALIGNMENT: usize = 8;
/// The least length of a match.
const MATCH_MIN: usize = 4;

/// A match of this length has given all that it is asked for before it is of the least.
const GENEROUS: usize = 16;

/// Literals, and the match that follows them: none at a block's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sequence {
    /// Where the literals are in the content.
    start: usize,
    literals: usize,
    offset: [u8; 2],
    length: usize,
}

impl Sequence {
    fn misleads(self) -> bool {
        self.length > 0 && self.literals >= LONG && self.start.is_multiple_of(ALIGNMENT)
    }
}

/// What is to be done with a block so that every reader understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    AsItIs,
    /// This instead, which has the same content.
    Instead(Vec<u8>),
    /// So many bytes of the content are to be a block of their own, not compressed.
    CutAfter(usize),
}

/// Looks at a compressed block of this content.
///
/// `None` when it is no whole block of it, which one that was just made is, or when it cannot be helped.
pub(super) fn readable(block: &[u8], content: &[u8]) -> Option<Readable> {
    let mut misleads = false;
    for_each(block, |sequence| misleads |= sequence.misleads())?;
    if !misleads {
        return Some(Readable::AsItIs);
    }
    let mut rewriting =
        Rewriting { content, block: Vec::with_capacity(block.len() + block.len() / 64 + 64), end: None };
    // Those that a later one may still ask for a byte.
    let mut pending: Vec<Sequence> = Vec::new();
    for_each(block, |mut sequence| {
        while sequence.misleads() {
            let Some(before) = pending.last_mut() else { break };
            if before.length > MATCH_MIN {
                before.length -= 1;
                sequence.start -= 1;
                sequence.literals += 1;
            } else {
                // A match of the least length has nothing to give: it goes into the run as a whole.
                sequence.literals = sequence.start + sequence.literals - before.start;
                sequence.start = before.start;
                pending.pop();
            }
        }
        if sequence.length >= GENEROUS {
            pending.drain(..).for_each(|before| rewriting.write(before));
        }
        pending.push(sequence);
    })?;
    pending.into_iter().for_each(|before| rewriting.write(before));
    match rewriting.end {
        None => Some(Readable::Instead(rewriting.block)),
        Some(End::FirstRun(length)) => Some(Readable::CutAfter(length)),
        Some(End::Lost) => None,
    }
}

/// A block in the making.
struct Rewriting<'a> {
    content: &'a [u8],
    block: Vec<u8>,
    end: Option<End>,
}

/// Why a block cannot be had.
enum End {
    /// It begins with so many literals, and there is no match before them.
    FirstRun(usize),
    /// Those who could have given a byte have none left.
    Lost,
}

impl Rewriting<'_> {
    fn write(&mut self, sequence: Sequence) {
        if self.end.is_some() {
            return;
        }
        let Sequence { start, literals, offset, length } = sequence;
        let Some(text) = self.content.get(start..start + literals).filter(|_| !sequence.misleads()) else {
            self.end = Some(if start == 0 { End::FirstRun(literals) } else { End::Lost });
            return;
        };
        let rest = length.saturating_sub(MATCH_MIN);
        let nibble = |length: usize| u8::try_from(length.min(15)).unwrap_or(15);
        self.block.push(nibble(literals) << 4 | nibble(rest));
        write_length(literals, &mut self.block);
        self.block.extend_from_slice(text);
        if length > 0 {
            self.block.extend_from_slice(&offset);
            write_length(rest, &mut self.block);
        }
    }
}

fn for_each(block: &[u8], mut tell: impl FnMut(Sequence)) -> Option<()> {
    let (mut at, mut start) = (0, 0);
    while at < block.len() {
        let token = usize::from(block[at]);
        at += 1;
        let literals = length(token >> 4, block, &mut at)?;
        at += literals;
        if at >= block.len() {
            tell(Sequence { start, literals, offset: [0; 2], length: 0 });
            return (at == block.len()).then_some(());
        }
        let offset = block.get(at..at + 2)?.try_into().ok()?;
        at += 2;
        let length = MATCH_MIN + length(token & 15, block, &mut at)?;
        tell(Sequence { start, literals, offset, length });
        start += literals + length;
    }
    Some(())
}

/// A length of which `first` stands in the token.
fn length(first: usize, block: &[u8], at: &mut usize) -> Option<usize> {
    let mut length = first;
    if first == 15 {
        loop {
            let more = *block.get(*at)?;
            *at += 1;
            length += usize::from(more);
            if more != u8::MAX {
                break;
            }
        }
    }
    Some(length)
}

/// What of a length does not stand in the token.
fn write_length(length: usize, block: &mut Vec<u8>) {
    let Some(mut rest) = length.checked_sub(15) else { return };
    while rest >= usize::from(u8::MAX) {
        block.push(u8::MAX);
        rest -= usize::from(u8::MAX);
    }
    block.push(u8::try_from(rest).unwrap_or(u8::MAX));
}

#[cfg(test)]
pub(super) fn misleads_a_reader(block: &[u8]) -> bool {
    let mut misleads = false;
    for_each(block, |sequence| misleads |= sequence.misleads()).expect("a whole block");
    misleads
}
