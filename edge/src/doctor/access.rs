//! Who the service runs as, and what that user may do. An engineer runs `edge doctor` as root, who may do everything;
//! what counts is whether the service may.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Access;

use crate::store::state_paths;

/// Where units lie, the administrator's own first.
const UNITS: [&str; 3] = [
    "/etc/systemd/system/ulna-edge.service",
    "/usr/lib/systemd/system/ulna-edge.service",
    "/lib/systemd/system/ulna-edge.service",
];

/// A user and the groups that user is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gids: BTreeSet<u32>,
    /// Its name, or its number where it has none.
    pub(super) name: String,
    /// The process that holds the state directory, where it is known.
    pub(super) holder: Option<u32>,
}

impl Identity {
    /// The user of the process that holds the state directory; else the directory's owner; else who runs this.
    pub(super) fn of_service(state_dir: &Path) -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = |uid: u32| name_of(&passwd, uid).unwrap_or_else(|| format!("uid {uid}"));
        if let Some(pid) = holder(&state_paths(state_dir).lock)
            && let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status"))
            && let Some((uid, gids)) = ids_in(&status)
        {
            return Self { uid, gids, name: name(uid), holder: Some(pid) };
        }
        let own = rustix::process::geteuid().as_raw();
        let uid = match fs::metadata(state_dir) {
            Ok(facts) if own == 0 => facts.uid(),
            _ => own,
        };
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let mut gids: BTreeSet<u32> = primary_group(&passwd, uid).into_iter().collect();
        if uid == own {
            gids.insert(rustix::process::getegid().as_raw());
            gids.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|gid| gid.as_raw()));
        } else {
            gids.extend(groups_of(&groups, &name(uid)));
            gids.extend(unit_groups().iter().filter_map(|group| group_id(&groups, group)));
        }
        Self { uid, gids, name: name(uid), holder: None }
    }

    /// Whether the user may do this to a file or folder. What cannot be looked at is an error.
    pub(super) fn may(&self, path: &Path, access: Access) -> io::Result<bool> {
        if self.uid == rustix::process::geteuid().as_raw() {
            return match rustix::fs::access(path, access) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS | rustix::io::Errno::PERM) => {
                    Ok(false)
                }
                Err(errno) => Err(errno.into()),
            };
        }
        // A file system mounted read-only is one for everybody, for root too.
        if access.contains(Access::WRITE_OK)
            && rustix::fs::access(path, Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
        {
            return Ok(false);
        }
        let path = path.canonicalize()?;
        for folder in path.ancestors().skip(1) {
            if !self.allowed(&fs::metadata(folder)?, 0o1) {
                return Ok(false);
            }
        }
        Ok(self.allowed(&fs::metadata(&path)?, bits(access)))
    }

    /// By the mode's bits, of which `wanted` are needed.
    fn allowed(&self, facts: &Metadata, wanted: u32) -> bool {
        let mode = facts.mode();
        let given = if facts.uid() == self.uid {
            mode >> 6
        } else if self.gids.contains(&facts.gid()) {
            mode >> 3
        } else {
            mode
        };
        self.uid == 0 || given & wanted == wanted
    }
}

fn bits(access: Access) -> u32 {
    let bit = |flag, bit| if access.contains(flag) { bit } else { 0 };
    bit(Access::READ_OK, 0o4) | bit(Access::WRITE_OK, 0o2) | bit(Access::EXEC_OK, 0o1)
}

/// A group's name, or its number where it has none.
pub(super) fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    name_of(&groups, gid).unwrap_or_else(|| format!("gid {gid}"))
}

/// The process that holds a lock file, as `/proc/locks` says. Trying the lock instead could keep a service that is just
/// starting from having it.
fn holder(lock: &Path) -> Option<u32> {
    let facts = fs::metadata(lock).ok()?;
    holder_in(&fs::read_to_string("/proc/locks").ok()?, facts.dev(), facts.ino())
}

/// Lines such as `1: FLOCK  ADVISORY  WRITE 4711 08:02:131 0 EOF`.
fn holder_in(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", pid, at, ..] = fields[..] else { return None };
        (at == place).then(|| pid.parse().ok()).flatten()
    })
}

/// The effective user and the groups in `/proc/<pid>/status`.
fn ids_in(status: &str) -> Option<(u32, BTreeSet<u32>)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let effective = |name: &str| field(name)?.split_whitespace().nth(1)?.parse().ok();
    let uid = effective("Uid:")?;
    let mut gids: BTreeSet<u32> =
        field("Groups:")?.split_whitespace().filter_map(|gid| gid.parse().ok()).collect();
    gids.insert(effective("Gid:")?);
    Some((uid, gids))
}

/// Of `/etc/passwd` or `/etc/group`: the name with this number.
fn name_of(table: &str, id: u32) -> Option<String> {
    let id = id.to_string();
    let of = |line: &&str| line.split(':').nth(2) == Some(id.as_str());
    Some(table.lines().find(of)?.split(':').next()?.to_owned())
}

fn group_id(groups: &str, name: &str) -> Option<u32> {
    let line = groups.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn primary_group(passwd: &str, uid: u32) -> Option<u32> {
    let uid = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.as_str()))?;
    line.split(':').nth(3)?.parse().ok()
}

fn groups_of(groups: &str, user: &str) -> Vec<u32> {
    let member =
        |line: &&str| line.split(':').nth(3).is_some_and(|users| users.split(',').any(|u| u == user));
    groups.lines().filter(member).filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

/// Groups that the service's unit adds to the user's own.
fn unit_groups() -> Vec<String> {
    let Some(unit) = UNITS.iter().find_map(|path| fs::read_to_string(path).ok()) else { return Vec::new() };
    let lines = unit.lines().filter_map(|line| line.strip_prefix("SupplementaryGroups="));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nulna:x:990:980::/var/lib/ulna:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nvideo:x:44:anna,ulna\nulna:x:980:anna\n";

    #[test]
    fn users_and_groups_are_read() {
        assert_eq!(name_of(PASSWD, 990).as_deref(), Some("ulna"));
        assert_eq!(name_of(GROUP, 44).as_deref(), Some("video"));
        assert_eq!(name_of(PASSWD, 99), None);
        assert_eq!(primary_group(PASSWD, 990), Some(980));
        assert_eq!(groups_of(GROUP, "ulna"), [44]);
        assert_eq!(groups_of(GROUP, "anna"), [44, 980]);
        assert_eq!(group_id(GROUP, "ulna"), Some(980));
        let status = "Name:\tedge\nUid:\t0\t990\t0\t0\nGid:\t0\t980\t0\t0\nGroups:\t44 980 \n";
        assert_eq!(ids_in(status), Some((990, BTreeSet::from([44, 980]))));
    }

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let locks =
            "1: POSIX  ADVISORY  WRITE 12 08:02:131 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 08:02:131 0 EOF\n";
        let device = rustix::fs::makedev(8, 2);
        assert_eq!(holder_in(locks, device, 131), Some(4711));
        assert_eq!(holder_in(locks, device, 132), None);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = fs::File::create(&path).unwrap();
        assert_eq!(holder(&path), None);
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(holder(&path), Some(std::process::id()));
    }

    #[test]
    fn another_user_is_judged_by_the_modes_bits() {
        let dir = tempfile::tempdir().unwrap();
        let facts = |mode| {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            fs::metadata(dir.path()).unwrap()
        };
        let owner = facts(0o700).uid();
        let gids = BTreeSet::from([facts(0o700).gid()]);
        let user = |uid: u32, gids: &BTreeSet<u32>| Identity {
            uid,
            gids: gids.clone(),
            name: String::new(),
            holder: None,
        };
        let (member, stranger) = (user(owner + 1, &gids), user(owner + 1, &BTreeSet::new()));
        assert!(user(owner, &gids).allowed(&facts(0o700), 0o7));
        assert!(!member.allowed(&facts(0o700), 0o4));
        assert!(member.allowed(&facts(0o750), 0o5) && !member.allowed(&facts(0o750), 0o2));
        assert!(!stranger.allowed(&facts(0o750), 0o1) && stranger.allowed(&facts(0o751), 0o1));
        assert!(user(0, &BTreeSet::new()).allowed(&facts(0o000), 0o7));
    }
}
