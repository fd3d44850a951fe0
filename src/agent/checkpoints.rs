//! What the agent was told of the site's audit log, so that it can say so when the log says something else later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::{Result, limits};
use crate::engine::crypto::write_private;
use crate::wire::Checkpoint;

const FILE: &str = "checkpoints.json";

/// The newest checkpoint of each generation, in one small file.
pub(super) struct Checkpoints {
    path: PathBuf,
    kept: BTreeMap<u64, Checkpoint>,
}

impl Checkpoints {
    /// Reads what is kept in the agent's folder. A file that cannot be read is worth a word, not the agent's work.
    pub(super) fn open(folder: &Path) -> Checkpoints {
        let path = folder.join(FILE);
        let kept: Vec<Checkpoint> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!("`{}` cannot be read: {error}", path.display());
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Checkpoints { path, kept: kept.into_iter().map(|c| (c.generation, c)).collect() }
    }

    /// Keeps the checkpoint when it is newer than the one of its generation; it is on disk when this returns. An older
    /// one changes nothing: that the server forgets must not make the agent forget.
    pub(super) fn told(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let generation = checkpoint.generation;
        if self.kept.get(&generation).is_some_and(|kept| kept.number >= checkpoint.number) {
            return Ok(());
        }
        let before = self.kept.insert(generation, checkpoint);
        while self.kept.len() > limits::CHECKPOINTS_KEPT_MAX {
            self.kept.pop_first();
        }
        let bytes = serde_json::to_vec_pretty(&self.all())?;
        let written = write_private(&self.path, &bytes);
        if written.is_err() {
            // What is not on disk is not kept; the next one is tried again.
            match before {
                Some(before) => drop(self.kept.insert(generation, before)),
                None => drop(self.kept.remove(&generation)),
            }
        }
        written
    }

    /// What is kept, oldest generation first.
    pub(super) fn all(&self) -> Vec<Checkpoint> {
        self.kept.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(generation: u64, number: u64) -> Checkpoint {
        Checkpoint { generation, number, ..Checkpoint::default() }
    }

    #[test]
    fn the_newest_of_each_generation_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Checkpoints::open(folder.path());
        for (generation, number) in [(1, 10), (1, 30), (1, 20), (2, 5), (1, 30)] {
            kept.told(checkpoint(generation, number)).unwrap();
        }
        let expected = vec![checkpoint(1, 30), checkpoint(2, 5)];
        assert_eq!((kept.all(), Checkpoints::open(folder.path()).all()), (expected.clone(), expected));
        for generation in 3..20 {
            kept.told(checkpoint(generation, 1)).unwrap();
        }
        let all = Checkpoints::open(folder.path()).all();
        assert_eq!((all.len(), all[0].generation), (limits::CHECKPOINTS_KEPT_MAX, 12));
    }

    #[test]
    fn a_disk_that_refuses_and_a_damaged_file_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Checkpoints::open(&folder.path().join("absent"));
        assert!(kept.told(checkpoint(1, 1)).is_err() && kept.all().is_empty());
        std::fs::write(folder.path().join(FILE), b"{").unwrap();
        assert!(Checkpoints::open(folder.path()).all().is_empty());
    }
}
