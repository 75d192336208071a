//! Where images come from: one check for each source that is configured.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::study::StudyType;
use rustix::fs::Access;

use super::access::group_name;
use super::{Check, Station};
use crate::capture::dicom::DicomConfig;
use crate::capture::dicom::probe::{self as dicom_probe, EchoError};
use crate::capture::replay::ReplayConfig;
use crate::capture::spool::SpoolConfig;
use crate::capture::v4l2::V4l2Config;
use crate::capture::v4l2::probe::{self, Offer};
use crate::capture::{self, Holdings};

const SPOOL: &str = "source.spool";
const V4L2: &str = "source.v4l2";
const DICOM: &str = "source.dicom";
const REPLAY: &str = "source.replay";
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Ports below it are for root.
const PORT_MIN: u16 = 1024;

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let config = &station.config;
    let mut checks = Vec::new();
    checks.extend(config.spool.as_ref().map(|source| spool(station, source)));
    checks.extend(config.v4l2.as_ref().map(|source| v4l2(station, source)));
    checks.extend(config.dicom.as_ref().map(|source| dicom(station, source)));
    checks.extend(config.replay.as_ref().map(|source| replay(station, source)));
    checks
}

fn spool(station: &Station, source: &SpoolConfig) -> Check {
    let (dir, user) = (source.dir.display(), &station.identity.name);
    let facts = match fs::metadata(&source.dir) {
        Ok(facts) if facts.is_dir() => facts,
        Ok(_) => {
            let found = format!("{dir} is not a folder");
            return Check::fail(SPOOL, found, "name a folder in spool.dir");
        }
        Err(error) => {
            let remedy = match error.kind() {
                io::ErrorKind::NotFound => format!("make it (mkdir {dir}), or mount the disk it lies on"),
                _ => "run `edge doctor` as root; check the network share or disk it lies on".to_owned(),
            };
            return Check::fail(SPOOL, format!("{dir} cannot be looked at: {error}"), remedy);
        }
    };
    match station.identity.may(&source.dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        Ok(true) => {}
        Ok(false) => {
            let remedy = format!(
                "the service removes files it has accepted, so it must write there: chown {user} {dir}, or put \
                 {user} into a group that may; and add it to ReadWritePaths in the unit"
            );
            return Check::fail(SPOOL, format!("{user} may not read and write {dir}"), remedy);
        }
        Err(error) => {
            let found = format!("{dir} cannot be looked at: {error}");
            return Check::fail(SPOOL, found, "run `edge doctor` as root or as the service's user");
        }
    }
    for folder in study_type_folders(&source.dir) {
        if !matches!(
            station.identity.may(&folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK),
            Ok(true)
        ) {
            let shown = folder.display();
            let remedy = format!("chown -R {user} {shown}, or put {user} into a group that may write there");
            return Check::fail(SPOOL, format!("{user} may not read and write {shown}"), remedy);
        }
    }
    if let Some(check) = not_taken(&source.dir) {
        return check;
    }
    // Renaming into place needs a place on the same file system.
    let parent = source.dir.parent().and_then(|parent| fs::metadata(parent).ok());
    let mount = parent.is_some_and(|parent| parent.dev() != facts.dev());
    let hint = if mount {
        "; a file system of its own, so the digitiser must write below it under a name that begins with a dot, then \
         rename"
    } else {
        ""
    };
    Check::ok(SPOOL, format!("{dir}, readable and writable for {user}{hint}"))
}

/// The folders of study types in the spool.
fn study_type_folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<StudyType>().is_ok()))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Says by number, since a name may be a patient's, what lies in the spool and is never taken.
fn not_taken(dir: &Path) -> Option<Check> {
    let Holdings { strangers, odd, .. } = capture::holdings(dir).ok()?;
    let count = |count: usize, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let parts: Vec<String> =
        [count(strangers, "folders that are no study type"), count(odd, "links, pipes or folders too deep")]
            .into_iter()
            .flatten()
            .collect();
    (!parts.is_empty()).then(|| {
        Check::warn(
            SPOOL,
            format!("in {} lie {}, which are not taken", dir.display(), parts.join(" and ")),
            "have the digitiser write <TYPE>/<study>/<file>, with a TYPE such as XR_WRIST; move away what lies wrong",
        )
    })
}

fn dicom(station: &Station, source: &DicomConfig) -> Check {
    // From another machine's view it is this one; an address that stands for all is reached over loopback.
    let mut address = source.listen;
    if address.ip().is_unspecified() {
        let loopback = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    let place = format!("{} as {}", source.listen, source.ae_title);
    // The configuration names at least one.
    let calling = source.calling_ae_titles.first().map_or("", String::as_str);
    let answer = dicom_probe::echo(address, calling, &source.ae_title, ANSWER_MAX);
    match (answer, station.identity.holder) {
        (Ok(()), Some(_)) => Check::ok(DICOM, format!("{place} answers an echo from {calling}")),
        (Err(EchoError::Unreachable(_)), Some(_)) => Check::fail(
            DICOM,
            format!("the service runs, and {place} does not answer"),
            "see `journalctl -u ulna-edge`; was the service restarted after the configuration was changed?",
        ),
        (Err(error), Some(_)) => Check::fail(
            DICOM,
            format!("{place} does not answer an echo from {calling}: {error}"),
            "restart the service if the configuration was changed (systemctl restart ulna-edge); else see \
             `journalctl -u ulna-edge`",
        ),
        (Err(EchoError::Unreachable(_)), None)
            if source.listen.port() < PORT_MIN && station.identity.uid != 0 =>
        {
            Check::fail(
                DICOM,
                format!("{} may not listen on {}", station.identity.name, source.listen),
                "set a port from 1024 on in dicom.listen, such as 11112, and in the digitiser",
            )
        }
        (Err(EchoError::Unreachable(_)), None) => {
            Check::ok(DICOM, format!("{place} is free for the service"))
        }
        (_, None) => Check::fail(
            DICOM,
            format!("another program listens on {}", source.listen),
            "stop that program, or change dicom.listen here and in the digitiser",
        ),
    }
}

fn replay(station: &Station, source: &ReplayConfig) -> Check {
    let (dir, user) = (source.dir.display(), &station.identity.name);
    let name_one = "name a folder of studies <TYPE>/<study>/<file> in replay.dir";
    match fs::metadata(&source.dir) {
        Ok(facts) if facts.is_dir() => {}
        Ok(_) => return Check::fail(REPLAY, format!("{dir} is not a folder"), name_one),
        Err(error) => {
            return Check::fail(REPLAY, format!("{dir} cannot be looked at: {error}"), name_one);
        }
    }
    match station.identity.may(&source.dir, Access::READ_OK | Access::EXEC_OK) {
        Ok(true) => {}
        Ok(false) => {
            let found = format!("{user} may not read {dir}");
            return Check::fail(REPLAY, found, format!("chmod -R go+rX {dir}"));
        }
        Err(error) => {
            let found = format!("{dir} cannot be looked at: {error}");
            return Check::fail(REPLAY, found, "run `edge doctor` as root or as the service's user");
        }
    }
    match capture::holdings(&source.dir) {
        Ok(Holdings { studies: 0, .. }) => {
            Check::warn(REPLAY, format!("{dir} holds no studies to play"), name_one)
        }
        Ok(Holdings { studies, .. }) => {
            Check::ok(REPLAY, format!("{dir}, {studies} studies, readable for {user}"))
        }
        Err(error) => {
            let found = format!("{dir} cannot be listed: {error}");
            Check::fail(REPLAY, found, "check the disk or network share it lies on")
        }
    }
}

fn v4l2(station: &Station, source: &V4l2Config) -> Check {
    let (device, user) = (source.device.display(), &station.identity.name);
    let facts = match fs::metadata(&source.device) {
        Ok(facts) if facts.file_type().is_char_device() => facts,
        Ok(_) => {
            let found = format!("{device} is not a device");
            return Check::fail(
                V4L2,
                found,
                "name the grabber in v4l2.device, best by a name under /dev/v4l/by-id",
            );
        }
        Err(error) => {
            let remedy =
                "plug the grabber in and switch it on; `ls /dev/v4l/by-id` shows the names there are";
            return Check::fail(V4L2, format!("{device} is not there: {error}"), remedy);
        }
    };
    match station.identity.may(&source.device, Access::READ_OK | Access::WRITE_OK) {
        Ok(true) => {}
        Ok(false) => {
            let group = group_name(facts.gid());
            let remedy =
                format!("put {user} into the group {group} (usermod -aG {group} {user}) and start again");
            return Check::fail(V4L2, format!("{user} may not open {device}"), remedy);
        }
        Err(error) => {
            let found = format!("{device} cannot be looked at: {error}");
            return Check::fail(V4L2, found, "run `edge doctor` as root or as the service's user");
        }
    }
    match probe::offer(&source.device) {
        Ok(offer) => offered(source, &offer),
        Err(error) => Check::fail(V4L2, error.to_string(), "unplug the grabber and plug it in again"),
    }
}

fn offered(source: &V4l2Config, offer: &Offer) -> Check {
    let name = format!("{} ({}), {}", source.device.display(), offer.card, offer.driver);
    match offer.objection(&source.fourcc, source.width_px, source.height_px) {
        None => Check::ok(V4L2, format!("{name}: offers {}", offer.names())),
        Some(objection) => Check::fail(
            V4L2,
            format!("{name}: {objection}"),
            "set v4l2.fourcc, v4l2.width_px and v4l2.height_px to something it offers",
        ),
    }
}
