//! A file's lines, each of bounded length.

use std::{
    io::{self, BufRead, BufReader, Read},
    mem,
};

use memchr::memchr;

/// The longest line that is read as one: several times what the longest record needs.
pub(crate) const MAX_LINE: u64 = 1 << 20;
const LONGEST: usize = 1 << 20;

/// Reads a file piece by piece: a piece is a line with its end, or, where there is no end within
/// [`MAX_LINE`] bytes or before the file's, what there is.
pub(crate) struct Pieces<R> {
    reader: BufReader<R>,
    /// A piece that did not stand in the buffer as a whole.
    piece: Vec<u8>,
    /// How much of the buffer the last piece was.
    taken: usize,
}

impl<R: Read> Pieces<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            piece: Vec::new(),
            taken: 0,
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.reader.consume(mem::take(&mut self.taken));
        self.piece.clear();
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            let room = LONGEST.saturating_sub(self.piece.len());
            let window = buffer.get(..room).unwrap_or(buffer);
            let end = memchr(b'\n', window).map(|at| at.saturating_add(1));
            let length = end.unwrap_or(window.len());
            if end.is_some() && self.piece.is_empty() {
                // It stands there already: nothing is copied.
                self.taken = length;
                return Ok(self.reader.buffer().get(..length));
            }
            self.piece
                .extend_from_slice(window.get(..length).unwrap_or_default());
            self.reader.consume(length);
            if end.is_some() || length == 0 || length == room {
                return Ok(Some(self.piece.as_slice()).filter(|piece| !piece.is_empty()));
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let few = into.len().min(self.1);
            self.0.read(&mut into[..few])
        }
    }

    fn pieces(bytes: &[u8], few: usize) -> Vec<Vec<u8>> {
        let mut pieces = Pieces::new(Slow(bytes, few));
        std::iter::from_fn(|| pieces.next().unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn i6_a_line_without_an_end_is_read_in_pieces() {
        let long = [vec![b'a'; 2 * LONGEST + 5], b"\nb\nc".to_vec()].concat();
        let lengths: Vec<usize> = pieces(&long, 70_000).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST, LONGEST, 6, 2, 1]);
        let fits = [vec![b'a'; LONGEST - 1], b"\n\n".to_vec()].concat();
        let lengths: Vec<usize> = pieces(&fits, 70_000).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LONGEST, 1]);
    }

    proptest! {
        #[test]
        fn pieces_are_lines_with_their_ends(text in "[a\n]{0,60}", few in 1_usize..9) {
            let lines: Vec<Vec<u8>> = text
                .as_bytes()
                .split_inclusive(|byte| *byte == b'\n')
                .map(<[u8]>::to_vec)
                .collect();
            prop_assert_eq!(pieces(text.as_bytes(), few), lines);
        }
    }
}
