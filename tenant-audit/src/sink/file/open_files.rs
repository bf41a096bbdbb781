//! The files that are written to: some of them stay open.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::disk::private;

const MAX_OPEN: usize = 64;

/// The files in use, the last used last.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Vec<(PathBuf, File)>);

impl OpenFiles {
    /// The file at a path, made if it is new.
    pub(super) fn file(&mut self, path: &Path, new: bool) -> io::Result<&mut File> {
        let known = self.0.iter().position(|(open, _)| open == path);
        let entry = if let Some(at) = known {
            self.0.remove(at)
        } else {
            if self.0.len() >= MAX_OPEN {
                drop(self.0.remove(0));
            }
            let file = private().append(true).create(new).open(path)?;
            (path.to_path_buf(), file)
        };
        self.0.push(entry);
        self.0
            .last_mut()
            .map(|(_, file)| file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
