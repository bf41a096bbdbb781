//! A file's lines, each of bounded length.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line that is read as one: several times what the longest record needs.
pub(crate) const MAX_LINE: u64 = 1 << 20;

/// Reads a file piece by piece: a piece is a line with its end, or, where there is no end within
/// [`MAX_LINE`] bytes or before the file's, what there is.
pub(crate) struct Pieces<R> {
    reader: BufReader<R>,
    piece: Vec<u8>,
}

impl<R: Read> Pieces<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(64 * 1024, reader),
            piece: Vec::with_capacity(4096),
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.piece.clear();
        self.reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.piece)?;
        Ok(Some(self.piece.as_slice()).filter(|piece| !piece.is_empty()))
    }
}
