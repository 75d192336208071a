//! Where images come from: one check for each source that is configured.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::Access;

use super::access::group_name;
use super::{Check, Station};
use crate::capture::spool::SpoolConfig;
use crate::capture::v4l2::V4l2Config;
use crate::capture::v4l2::probe::{self, Offer};

const SPOOL: &str = "source.spool";
const V4L2: &str = "source.v4l2";

pub(super) fn checks(station: &Station) -> Vec<Check> {
    let config = &station.config;
    let mut checks = Vec::new();
    checks.extend(config.spool.as_ref().map(|source| spool(station, source)));
    checks.extend(config.v4l2.as_ref().map(|source| v4l2(station, source)));
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
