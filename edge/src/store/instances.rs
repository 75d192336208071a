//! DICOM instances: objects that carry a name of their own, the SOP Instance UID, by which one that is sent again is
//! recognised whatever way it comes.
//!
//! The fingerprint of an instance is `dicom:<name>:<transfer syntax>:<content>`, where name and content are HMACs under
//! the site's key, so that no UID is stored in it.

use std::io::Read;

use hmac::Mac;
use rusqlite::params;

use super::error::Doing;
use super::files::{StageError, Staged};
use super::images::{Accepted, NewImage};
use super::{Store, StoreError};

/// What an instance is told from others by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceName<'a> {
    /// Its SOP Instance UID.
    pub sop_instance_uid: &'a str,
    /// The UID of the transfer syntax it is written in.
    pub transfer_syntax: &'a str,
}

/// Why an instance was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Another image has its name: one of the two would be lost if it were taken for the same.
    #[error(
        "another image was accepted under the same SOP Instance UID, as {image_id}; the sender must give each image \
         a SOP Instance UID of its own"
    )]
    OtherContent {
        /// The image that has the name.
        image_id: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Copies an instance into the store and syncs it; nothing is accepted yet.
    ///
    /// # Errors
    /// When the source cannot be read or gives more than `size_max_bytes`, or the store cannot be written.
    pub fn stage_instance(
        &self,
        name: InstanceName<'_>,
        size_max_bytes: u64,
        source: &mut dyn Read,
    ) -> Result<Staged, StageError> {
        let mut mac = self.mac();
        mac.update(name.sop_instance_uid.as_bytes());
        let named = hex::encode(mac.finalize().into_bytes());
        let (mut staged, content) = self.copy_in(self.mac(), size_max_bytes, source)?;
        staged.fingerprint = format!("dicom:{named}:{}:{content}", name.transfer_syntax);
        crate::transition("accept.written");
        Ok(staged)
    }

    /// Accepts a staged instance as [`Store::accept`] does an image. One that was accepted before, in the same
    /// transfer syntax with the same content or in another one, is not accepted a second time. Two calls at the
    /// same time could both find nothing: the caller makes them one after another.
    ///
    /// # Errors
    /// When an image of other content has its name, a file cannot be renamed or SQLite fails; it is then not accepted.
    pub fn accept_instance(&self, staged: Staged, image: &NewImage<'_>) -> Result<Accepted, InstanceError> {
        let mut other = None;
        for (fingerprint, before) in self.instances_named_as(&staged.fingerprint)? {
            if fingerprint == staged.fingerprint || syntax(&fingerprint) != syntax(&staged.fingerprint) {
                return Ok(before);
            }
            other = Some(before.image_id);
        }
        match other {
            Some(image_id) => Err(InstanceError::OtherContent { image_id }),
            None => Ok(self.accept(staged, image)?),
        }
    }

    /// The accepted instances of the same name, with their fingerprints.
    fn instances_named_as(&self, fingerprint: &str) -> Result<Vec<(String, Accepted)>, StoreError> {
        const DOING: &str = "look for an instance";
        let name: String = fingerprint.split(':').take(2).collect::<Vec<_>>().join(":");
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(
                "SELECT fingerprint, image_id, number FROM images JOIN studies ON studies.id = study_id
                 WHERE fingerprint BETWEEN ?1 AND ?2 ORDER BY images.id",
            )
            .doing(DOING)?;
        let rows = statement
            .query_map(params![format!("{name}:"), format!("{name};")], |row| {
                let before = Accepted { image_id: row.get(1)?, study_number: row.get(2)?, again: true };
                Ok((row.get(0)?, before))
            })
            .doing(DOING)?;
        rows.collect::<rusqlite::Result<_>>().doing(DOING)
    }
}

/// The transfer syntax in an instance's fingerprint.
fn syntax(fingerprint: &str) -> Option<&str> {
    fingerprint.split(':').nth(2)
}

#[cfg(test)]
mod tests {
    use super::super::{Grouping, LimitsConfig, Origin};
    use super::*;

    fn send(store: &Store, uid: &str, syntax: &str, content: &str) -> Result<Accepted, InstanceError> {
        let origin = Origin { name: "dicom/XR_WRIST/1".to_owned(), study_type: None, single: false };
        let grouping = Grouping { views_max: 32, reopen_max_ms: 1000 };
        let image = NewImage { origin: &origin, source_name: "SENDER", extension: "dcm", grouping };
        let name = InstanceName { sop_instance_uid: uid, transfer_syntax: syntax };
        let staged = store.stage_instance(name, 1000, &mut content.as_bytes()).unwrap();
        store.accept_instance(staged, &image)
    }

    #[test]
    fn an_instance_sent_again_is_the_same_image_and_another_of_its_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), LimitsConfig::default()).unwrap();
        let first = send(&store, "1.2.3", "1.2.840.10008.1.2", "content").unwrap();
        assert!(!first.again);
        let again = Accepted { again: true, ..first.clone() };
        assert_eq!(send(&store, "1.2.3", "1.2.840.10008.1.2", "content").unwrap(), again);
        assert_eq!(send(&store, "1.2.3", "1.2.840.10008.1.2.1", "other encoding").unwrap(), again);
        let refused = send(&store, "1.2.3", "1.2.840.10008.1.2", "another image").unwrap_err();
        assert!(refused.to_string().contains(&first.image_id), "{refused}");
        assert!(!refused.to_string().contains("1.2.3"), "{refused}");
        // One name is not the start of another, and the same content under another name is another image.
        assert!(!send(&store, "1.2.34", "1.2.840.10008.1.2", "content").unwrap().again);
        assert_eq!(store.newest_studies(9).unwrap()[0].images.len(), 2);
        let files = std::fs::read_dir(dir.path().join("images")).unwrap().count();
        assert_eq!(files, 2, "what was not accepted leaves nothing behind");
    }

    #[test]
    fn an_instance_that_is_too_large_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), LimitsConfig::default()).unwrap();
        let name = InstanceName { sop_instance_uid: "1.2", transfer_syntax: "1.2.840.10008.1.2" };
        let mut endless = std::io::repeat(7);
        let refused = store.stage_instance(name, 1 << 20, &mut endless).unwrap_err();
        assert!(matches!(refused, StageError::TooLarge { size_max_bytes: 1_048_576 }), "{refused}");
        assert_eq!(std::fs::read_dir(dir.path().join("images")).unwrap().count(), 0);
    }
}
