//! TLS with an authority of one's own, on both sides.

use std::path::{Path, PathBuf};
use std::process::Command;

use edge::publish::MqttConfig;

use crate::broker::{Mosquitto, eventually};
use crate::station::{Outbox, Station, config};

/// An authority with a broker's and a station's certificate, made with openssl.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Self { folder };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority \
             -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem",
        );
        std::fs::write(authority.path("broker.ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
        std::fs::write(authority.path("station.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
        for name in ["broker", "station"] {
            authority.openssl(&format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key \
                 -out {name}.csr"
            ));
            authority.openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext \
                 -out {name}.pem"
            ));
        }
        authority
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .expect("openssl is missing: install the Debian package `openssl` (`make test` does)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn broker(&self) -> Mosquitto {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        Mosquitto::start(
            &format!(
                "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true",
                path("ca.pem"),
                path("broker.pem"),
                path("broker.key")
            ),
            &[],
        )
    }

    fn config(&self, port: u16, ca_file: &Path) -> MqttConfig {
        MqttConfig {
            host: "localhost".to_owned(),
            ca_file: Some(ca_file.to_owned()),
            cert_file: Some(self.path("station.pem")),
            key_file: Some(self.path("station.key")),
            ..config(port)
        }
    }
}

#[test]
fn results_leave_over_tls_with_a_certificate_on_both_sides() {
    let authority = Authority::new();
    let broker = authority.broker();
    let outbox = Outbox::new();
    outbox.fill(30, 3000);
    let station = Station::start(&outbox.store, authority.config(broker.port(), &authority.path("ca.pem")));
    eventually("the outbox is empty", || outbox.store.depth().unwrap() == 0);
    eventually("all are counted", || station.handle.state().results_acked == 30);
    station.stop();
}

#[test]
fn a_broker_of_another_authority_gets_nothing() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let broker = authority.broker();
    let outbox = Outbox::new();
    outbox.fill(1, 10);
    let station = Station::start(&outbox.store, authority.config(broker.port(), &stranger.path("ca.pem")));
    eventually("the reason is named", || {
        station.handle.state().last_error.is_some_and(|error| error.contains("certificate"))
    });
    assert_eq!(outbox.store.depth().unwrap(), 1);
    station.stop();
}

#[test]
fn a_file_that_holds_no_certificate_is_named() {
    let authority = Authority::new();
    let broker = authority.broker();
    let empty = authority.path("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let outbox = Outbox::new();
    let station = Station::start(&outbox.store, authority.config(broker.port(), &empty));
    eventually("the file is named", || {
        station
            .handle
            .state()
            .last_error
            .is_some_and(|e| e.contains("mqtt.ca_file") && e.contains("empty.pem"))
    });
    station.stop();
}
