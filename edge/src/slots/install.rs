//! From a source to a slot: judged, fetched, verified and tested; only then is anything that served before touched.
//!
//! ```text
//! models/
//!     slots.json        the record; replaced as a whole
//!     lock, installing  held while the record changes, and while something is installed
//!     incoming/         what is being fetched; the next attempt goes on with it
//!     a/ b/             the slots
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::mem;
use std::path::{Path, PathBuf};

use contract::bundle::{BundleManifest, FileFacts, MANIFEST_FILE, SIGNATURE_FILE};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::error::{Refusal, SlotsError};
use super::judge::{self, Rules};
use super::record::{Installed, Record, Slot};
use super::source::Source;
use super::{Slots, cannot};
use crate::inference::{Bundle, BundleError, MANIFEST_MAX_BYTES, Model, identity, read_file};
use crate::store::sync_dir;

const SIGNATURE_MAX_BYTES: u64 = 4096;
const CHUNK_LEN: usize = 1 << 16;

/// A file that is being fetched: what has come of it is on the disk.
pub struct Part {
    file: File,
    path: PathBuf,
    length: u64,
    size_bytes: u64,
}

impl Part {
    /// Goes on with what is there.
    fn open(path: PathBuf, size_bytes: u64) -> Result<Self, SlotsError> {
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        let file = opened.map_err(cannot("make", &path))?;
        let length = file.metadata().map_err(cannot("read", &path))?.len();
        let mut part = Self { file, path, length, size_bytes };
        if length > size_bytes {
            part.restart()?;
        }
        Ok(part)
    }

    /// How much is there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How much there will be.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether all is there.
    pub fn is_whole(&self) -> bool {
        self.length == self.size_bytes
    }

    /// Begins anew.
    ///
    /// # Errors
    /// When the file cannot be emptied.
    pub fn restart(&mut self) -> Result<(), SlotsError> {
        self.file.set_len(0).map_err(cannot("empty", &self.path))?;
        self.length = 0;
        Ok(())
    }

    /// Appends what a reader gives, until it ends or all is there.
    ///
    /// # Errors
    /// What `unreadable` makes of the reader's error; or the file's own.
    pub fn append(
        &mut self,
        from: &mut dyn Read,
        unreadable: impl FnOnce(io::Error) -> SlotsError,
    ) -> Result<(), SlotsError> {
        let mut chunk = [0; CHUNK_LEN];
        while !self.is_whole() {
            let room = usize::try_from(self.size_bytes - self.length).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
            let read = match from.read(&mut chunk[..room]) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            self.file.write_all(&chunk[..read]).map_err(cannot("write", &self.path))?;
            self.length += read as u64;
            crate::transition("model.writing");
        }
        Ok(())
    }
}

/// Where a bundle is after it was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The slot.
    pub slot: Slot,
    /// The bundle.
    pub bundle: Installed,
    /// Whether it was there before.
    pub already: bool,
}

/// A bundle's manifest as it came, with its signature.
struct Head {
    json: Vec<u8>,
    signature: String,
    manifest: BundleManifest,
    bundle_sha256: String,
    signed_by: String,
}

impl Slots {
    /// Puts a bundle into the slot that is not in use, if the station may use it and it passes its self-test here. With
    /// `wanted`, only the bundle with this manifest. What is in use stays in use.
    ///
    /// # Errors
    /// See [`SlotsError`].
    pub fn install(
        &self,
        source: &mut dyn Source,
        rules: &Rules,
        wanted: Option<&str>,
    ) -> Result<Placed, SlotsError> {
        let _alone = self.install_lock()?;
        let head = head(source, rules)?;
        if let Some(wanted) = wanted.filter(|wanted| !head.bundle_sha256.eq_ignore_ascii_case(wanted)) {
            let (found, wanted) = (head.bundle_sha256, wanted.to_owned());
            return Err(Refusal::Another { found, wanted }.into());
        }
        let record = self.record()?;
        let mut known = false;
        if let Some(slot) = record.holding(&head.bundle_sha256)
            && let Some(bundle) = record.bundle(slot)
        {
            if self.whole(slot, bundle).is_ok() {
                return self.sign_again(slot, bundle, &head);
            }
            // What the disk has spoilt may come again, into the other slot if it is in use.
            known = true;
        }
        free(&record)?;
        if !known {
            judge::newer(head.manifest.version, record.version_max())?;
        }
        let incoming = self.incoming(&head)?;
        let placed = self
            .fetch(source, &head.manifest, &incoming)
            .and_then(|()| self.try_out(&Bundle::load(&incoming)?))
            .inspect(|()| crate::transition("model.tested"))
            .and_then(|()| self.place(&head, &incoming));
        if placed.as_ref().is_err_and(SlotsError::is_of_the_bundle) {
            // Another attempt would find the same; the room is needed.
            remove_dir(&incoming)?;
        }
        placed
    }

    /// A bundle that is there already may have been signed by another key since.
    fn sign_again(&self, slot: Slot, bundle: &Installed, head: &Head) -> Result<Placed, SlotsError> {
        let mut bundle = bundle.clone();
        if bundle.signed_by != head.signed_by {
            self.write(&self.slot_dir(slot).join(SIGNATURE_FILE), head.signature.as_bytes())?;
            bundle.signed_by.clone_from(&head.signed_by);
            self.change(|record| {
                record.fill(slot, bundle.clone());
                Ok(())
            })?;
        }
        Ok(Placed { slot, bundle, already: true })
    }

    /// The folder for what comes: as an earlier attempt at the same bundle left it, or a new one.
    fn incoming(&self, head: &Head) -> Result<PathBuf, SlotsError> {
        let incoming = self.dir().join("incoming");
        let manifest = incoming.join(MANIFEST_FILE);
        let goes_on = fs::read(&manifest).is_ok_and(|json| json == head.json);
        if !goes_on {
            remove_dir(&incoming)?;
            self.make_dir(&incoming)?;
        }
        self.write(&incoming.join(SIGNATURE_FILE), head.signature.as_bytes())?;
        if !goes_on {
            self.write(&manifest, &head.json)?;
        }
        crate::transition("model.begun");
        Ok(incoming)
    }

    fn fetch(
        &self,
        source: &mut dyn Source,
        manifest: &BundleManifest,
        incoming: &Path,
    ) -> Result<(), SlotsError> {
        let mut dirs = vec![incoming.to_owned()];
        for name in manifest.files.keys() {
            let levels = Path::new(name).ancestors().skip(1).filter(|level| !level.as_os_str().is_empty());
            for level in levels.collect::<Vec<_>>().into_iter().rev() {
                let dir = incoming.join(level);
                if !dirs.contains(&dir) {
                    self.make_dir(&dir)?;
                    dirs.push(dir);
                }
            }
        }
        let there = |name: &String| fs::metadata(incoming.join(name)).map_or(0, |file| file.len());
        let missing = manifest.files.iter().map(|(name, facts)| facts.size_bytes.saturating_sub(there(name)));
        self.room_for(missing.sum())?;
        for (name, facts) in &manifest.files {
            let mut part = Part::open(incoming.join(name), facts.size_bytes)?;
            complete(source, name, facts, &mut part)?;
            part.file.sync_all().map_err(cannot("sync", &part.path))?;
            crate::transition("model.fetched");
        }
        for dir in &dirs {
            sync_dir(dir).map_err(cannot("sync", dir))?;
        }
        Ok(())
    }

    /// Whether a bundle computes on this machine what it should, in the time it may take.
    pub(super) fn try_out(&self, bundle: &Bundle) -> Result<(), SlotsError> {
        let may = self.change(|record| Ok(record.begin_test(&bundle.manifest_sha256)))?;
        if !may {
            return Err(SlotsError::Deadly);
        }
        crate::transition("model.testing");
        let tested = Model::load(bundle, self.execution)
            .map_err(SlotsError::from)
            .and_then(|model| in_time(&model, self.view_max_ms));
        self.change(|record| {
            record.end_test();
            Ok(())
        })?;
        tested
    }

    fn room_for(&self, bytes: u64) -> Result<(), SlotsError> {
        let dir = self.dir();
        let space = rustix::fs::statvfs(dir).map_err(|error| cannot("look at", dir)(error.into()))?;
        let (free, needed) = (space.f_bavail * space.f_frsize, bytes + self.reserve_bytes);
        if needed > free {
            let (needed_mib, free_mib) = (needed >> 20, free >> 20);
            return Err(SlotsError::Space { needed_mib, free_mib, path: dir.to_owned() });
        }
        Ok(())
    }

    /// The record forgets the slot before its folder goes, and knows it again once the new one is there.
    fn place(&self, head: &Head, incoming: &Path) -> Result<Placed, SlotsError> {
        let bundle = Installed {
            name: head.manifest.name.clone(),
            version: head.manifest.version,
            purpose: head.manifest.purpose,
            bundle_sha256: head.bundle_sha256.clone(),
            signed_by: head.signed_by.clone(),
            installed_at: Timestamp::now(),
        };
        let slot = self.change(|record| {
            let slot = free(record)?;
            record.vacate(slot);
            Ok(slot)
        })?;
        crate::transition("model.vacated");
        let dir = self.slot_dir(slot);
        remove_dir(&dir)?;
        crate::transition("model.removed");
        fs::rename(incoming, &dir).map_err(cannot("rename", incoming))?;
        sync_dir(self.dir()).map_err(cannot("sync", self.dir()))?;
        crate::transition("model.placed");
        self.change(|record| {
            // Nobody else fills slots meanwhile, and only a filled one can be activated.
            record.fill(slot, bundle.clone());
            Ok(())
        })?;
        crate::transition("model.recorded");
        Ok(Placed { slot, bundle, already: false })
    }

    fn install_lock(&self) -> Result<File, SlotsError> {
        let path = self.dir().join("installing");
        let file = self.lock_file(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                Err(SlotsError::Busy(self.dir().to_owned()))
            }
            Err(error) => Err(cannot("lock", &path)(error.into())),
        }
    }
}

/// Whether a model is fast enough on this machine.
///
/// # Errors
/// When a view takes longer than `max_ms`.
pub fn in_time(model: &Model, max_ms: u64) -> Result<(), SlotsError> {
    let found_ms = model.golden_ms();
    if found_ms > max_ms as f64 {
        return Err(SlotsError::Slow { found_ms, max_ms });
    }
    Ok(())
}

fn free(record: &Record) -> Result<Slot, SlotsError> {
    record.free().ok_or(SlotsError::OnTrial)
}

/// Reads and judges what a bundle says of itself. What is signed is verified before it is read.
fn head(source: &mut dyn Source, rules: &Rules) -> Result<Head, SlotsError> {
    let Some(json) = source.small(MANIFEST_FILE, MANIFEST_MAX_BYTES)? else {
        let missing = io::Error::new(io::ErrorKind::NotFound, "it is not there");
        return Err(SlotsError::Source { place: source.place(MANIFEST_FILE), source: missing });
    };
    let signature = source.small(SIGNATURE_FILE, SIGNATURE_MAX_BYTES)?;
    let signature = signature.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let signed_by = rules.signer(&json, signature.as_deref())?;
    let manifest = BundleManifest::parse(&json)
        .map_err(|source| BundleError::Manifest { dir: PathBuf::from(MANIFEST_FILE), source })?;
    rules.allow(&manifest)?;
    let (bundle_sha256, signature) = (identity(&json), signature.unwrap_or_default());
    Ok(Head { json, signature, manifest, bundle_sha256, signed_by })
}

/// Fetches a file; one that is damaged although it was whole is fetched once more, because an earlier attempt may have
/// left something else of the right length.
fn complete(
    source: &mut dyn Source,
    name: &str,
    facts: &FileFacts,
    part: &mut Part,
) -> Result<(), SlotsError> {
    let mut once_more = part.length > 0;
    loop {
        if !part.is_whole() {
            source.rest(name, part)?;
        }
        let Err(damage) = read_file(&part.path, facts) else { return Ok(()) };
        part.restart()?;
        if !mem::take(&mut once_more) {
            return Err(damage.into());
        }
    }
}

fn remove_dir(dir: &Path) -> Result<(), SlotsError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", dir)(error)),
        _ => Ok(()),
    }
}
