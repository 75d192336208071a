//! Where the samples of planes lie: in memory, or in the file of a packed cache that is mapped into it.

use std::fmt;
use std::sync::Arc;

use memmap2::Mmap;

/// The samples of many planes of one size. A clone shares them.
#[derive(Clone)]
pub enum Samples {
    /// In memory, one plane after the other.
    Owned(Arc<Vec<u8>>),
    /// In a packed cache's file.
    Mapped {
        /// The file.
        file: Arc<Mmap>,
        /// For each image, its plane's number in the file.
        planes: Arc<[u32]>,
    },
}

impl Samples {
    /// The plane of an image, `len` samples.
    ///
    /// # Panics
    /// When there is no such image.
    pub fn plane(&self, image: usize, len: usize) -> &[u8] {
        match self {
            Samples::Owned(samples) => &samples[image * len..(image + 1) * len],
            Samples::Mapped { file, planes } => {
                let first = planes[image] as usize * len;
                &file[first..first + len]
            }
        }
    }
}

impl From<Vec<u8>> for Samples {
    fn from(samples: Vec<u8>) -> Self {
        Samples::Owned(Arc::new(samples))
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Samples::Owned(samples) => write!(f, "{} bytes in memory", samples.len()),
            Samples::Mapped { file, planes } => {
                write!(f, "{} planes in a mapped file of {} bytes", planes.len(), file.len())
            }
        }
    }
}
