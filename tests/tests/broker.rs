//! The centre's broker as `deploy/broker` has it: a real mosquitto, certificates of the delivered script, and clients that try
//! what they may not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use e2e::authority::{Authority, Identity};
use e2e::broker::{Broker, DASHBOARD};
use e2e::collector::Collector;
use e2e::mosquitto::{Published, publish, subscribe};
use e2e::websocket::Dashboard;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, PubAckReason};

const SHORT: Duration = Duration::from_millis(1500);

/// `topic payload` of all that came, birth of the observer's own session aside.
fn seen(collector: &Collector) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    collector
        .messages()
        .iter()
        .map(|message| format!("{} {}", message.topic, text(&message.payload)))
        .collect()
}

fn not_authorised() -> Published {
    Published::Refused("Not authorized".to_owned())
}

#[test]
fn a_station_writes_and_reads_its_own_topics_only() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let (own, other) = (authority.station("clinic-12")?, authority.station("clinic-13")?);
    let (commands, archive) = (authority.centre("commands")?, authority.centre("archive")?);
    let broker = Broker::of_centre(&authority)?;
    let port = broker.port();
    let collector = Collector::start(broker.observer_port()?)?;

    // It asks for everything, and a reader of the centre does too.
    let everything = |identity: &Identity| {
        let identity = identity.clone();
        thread::spawn(move || subscribe(port, &identity, "#", 5))
    };
    let (station_sees, archive_sees) = (everything(&own), everything(&archive));
    thread::sleep(SHORT);

    for (who, topic, verdict) in [
        (&own, "ulna/v1/clinic-12/result", Published::Taken),
        (&own, "ulna/v1/clinic-12/cmd/ping/1/ack", Published::Taken),
        (&own, "ulna/v1/clinic-13/result", not_authorised()),
        (&own, "ulna/v1/clinic-13/cmd/ping/1", not_authorised()),
        (&own, "ulna/v1/result", not_authorised()),
        (&own, "elsewhere", not_authorised()),
        (&other, "ulna/v1/clinic-13/status", Published::Taken),
        (&commands, "ulna/v1/clinic-12/cmd/ping/2", Published::Taken),
        (&commands, "ulna/v1/clinic-13/cmd/ping/3", Published::Taken),
        (&commands, "ulna/v1/clinic-12/result", not_authorised()),
        (&archive, "ulna/v1/clinic-12/cmd/ping/4", not_authorised()),
    ] {
        let cert = e2e::name(&who.cert);
        assert_eq!(publish(port, who, topic, "x")?, verdict, "{cert} to {topic}");
    }

    let taken = [
        "ulna/v1/clinic-12/result x",
        "ulna/v1/clinic-12/cmd/ping/1/ack x",
        "ulna/v1/clinic-13/status x",
        "ulna/v1/clinic-12/cmd/ping/2 x",
        "ulna/v1/clinic-13/cmd/ping/3 x",
    ];
    let joined = |reader: thread::JoinHandle<anyhow::Result<Option<Vec<String>>>>| {
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??
            .context("the reader was not let in")
    };
    assert_eq!(
        joined(station_sees)?,
        ["ulna/v1/clinic-12/cmd/ping/1/ack x", "ulna/v1/clinic-12/cmd/ping/2 x"]
    );
    assert_eq!(joined(archive_sees)?, taken);
    assert_eq!(seen(&collector), taken);
    Ok(())
}

/// Tries to come in and to write as clinic-12.
fn try_as(broker: &Broker, authority: &Authority, identity: &Identity) -> anyhow::Result<Published> {
    // A client of any kind trusts the broker; the question is whether it is trusted.
    let identity = Identity { ca: authority.broker().ca, ..identity.clone() };
    publish(broker.port(), &identity, "ulna/v1/clinic-12/result", "x")
}

#[test]
fn a_certificate_that_is_unknown_expired_early_or_of_another_kind_is_refused() -> anyhow::Result<()> {
    let (authority, strangers) = (Authority::new()?, Authority::new()?);
    let broker = Broker::of_centre(&authority)?;
    let collector = Collector::start(broker.observer_port()?)?;

    let stranger = strangers.station("clinic-12")?;
    assert_eq!(try_as(&broker, &authority, &stranger)?, Published::NotLetIn, "of another authority");
    let expired = authority.client_between("clinic-12", "3 days ago", "1 minute ago")?;
    assert_eq!(try_as(&broker, &authority, &expired)?, Published::NotLetIn, "expired");
    let early = authority.client_between("clinic-12", "1 hour", "2 days")?;
    assert_eq!(try_as(&broker, &authority, &early)?, Published::NotLetIn, "not yet valid");
    let servers = authority.broker_between("1 day ago", "1 day")?;
    assert_eq!(try_as(&broker, &authority, &servers)?, Published::NotLetIn, "a broker's");
    // The certificate is right; the key is another's.
    let good = authority.station("clinic-12")?;
    let stolen = Identity { key: stranger.key, ..good.clone() };
    assert_eq!(try_as(&broker, &authority, &stolen)?, Published::NotLetIn, "without its key");

    let short = authority.client_between("clinic-12", "1 hour ago", "1 hour")?;
    assert_eq!(try_as(&broker, &authority, &short)?, Published::Taken, "the same way, with good times");
    assert_eq!(try_as(&broker, &authority, &good)?, Published::Taken);
    assert_eq!(seen(&collector).len(), 2);
    Ok(())
}

#[test]
fn a_revoked_certificate_is_refused_after_a_reload_and_another_of_the_name_is_not() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let issued = authority.station("clinic-12")?;
    let neighbour = authority.station("clinic-13")?;
    let kept = tempfile::tempdir()?;
    let keep = |number: u32| -> anyhow::Result<Identity> {
        let file = |ending: &str| kept.path().join(format!("{number}.{ending}"));
        issued.copy_to(&file("pem"), &file("key"))?;
        Ok(Identity { ca: issued.ca.clone(), cert: file("pem"), key: file("key") })
    };
    let first = keep(1)?;
    authority.script(&["renew", "clinic-12"])?;
    let second = keep(2)?;
    let broker = Broker::of_centre(&authority)?;
    for identity in [&first, &second] {
        assert_eq!(try_as(&broker, &authority, identity)?, Published::Taken);
    }

    authority.script(&["revoke", "clinic-12"])?;
    broker.install(&authority)?;
    broker.reload()?;
    for identity in [&first, &second] {
        assert_eq!(try_as(&broker, &authority, identity)?, Published::NotLetIn, "revoked");
    }
    let status = publish(broker.port(), &neighbour, "ulna/v1/clinic-13/status", "x")?;
    assert_eq!(status, Published::Taken, "the neighbour's");
    let third = authority.station("clinic-12")?;
    assert_eq!(try_as(&broker, &authority, &third)?, Published::Taken, "made after that");
    Ok(())
}

#[test]
fn a_dashboard_reads_everything_and_writes_nothing() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let station = authority.station("clinic-12")?;
    let mut broker = Broker::of_centre(&authority)?;
    let ca = authority.broker().ca;
    let connect = |broker: &Broker, login: Option<(&str, &str)>| {
        Dashboard::connect(broker.websocket_port()?, &ca, "dashboard-1", login)
    };
    let refusal = |login| anyhow::Ok(connect(&broker, login)?.err());
    assert_eq!(refusal(None)?, Some(ConnectReturnCode::NotAuthorized), "without a name");
    assert_eq!(refusal(Some((DASHBOARD.0, "guess")))?, Some(ConnectReturnCode::NotAuthorized));
    assert_eq!(refusal(Some(("clinic-12", "")))?, Some(ConnectReturnCode::NotAuthorized), "a station's name");

    let collector = Collector::start(broker.observer_port()?)?;
    let let_in =
        |broker: &Broker| connect(broker, Some(DASHBOARD))?.map_err(|code| anyhow::anyhow!("{code:?}"));
    let mut dashboard = let_in(&broker)?;
    for topic in
        ["ulna/v1/clinic-12/result", "ulna/v1/clinic-12/cmd/ping/1", "ulna/v1/anna/status", "elsewhere"]
    {
        assert_eq!(dashboard.publish(topic, "x")?, PubAckReason::NotAuthorized, "{topic}");
    }
    assert_eq!(seen(&collector), Vec::<String>::new());

    // What the broker keeps for a station, it keeps across a restart, and shows.
    let mut retained = e2e::mosquitto::client("mosquitto_pub", broker.port(), &station);
    e2e::bin::succeed(retained.args(["-r", "-t", "ulna/v1/clinic-12/birth", "-m", "{}"]))?;
    let birth = ("ulna/v1/clinic-12/birth".to_owned(), "{}".to_owned());
    let seen: Vec<_> = dashboard.read("ulna/v1/#", SHORT)?.into_iter().collect();
    assert_eq!(seen, std::slice::from_ref(&birth));
    broker.stop()?;
    broker.restart()?;
    assert_eq!(let_in(&broker)?.read("ulna/v1/#", SHORT)?.into_iter().collect::<Vec<_>>(), [birth]);
    Ok(())
}

#[test]
fn keys_are_private_and_nothing_is_overwritten() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let station = authority.station("clinic-12")?;
    let mode = |path: &Path| anyhow::Ok(fs::metadata(path)?.permissions().mode() & 0o7777);
    for key in [&station.key, &authority.broker().key, &authority.dir().join("ca.key")] {
        assert_eq!(mode(key)?, 0o600, "{}", key.display());
    }
    assert_eq!(mode(&authority.dir().join("stations"))?, 0o700);

    let before = fs::read(&station.key)?;
    for (arguments, complaint) in [
        (vec!["station", "clinic-13", "clinic-12"], "is there already"),
        (vec!["broker", "localhost"], "is there already"),
        (vec!["ca"], "there is an authority"),
        (vec!["station", "Clinic_12"], "is not a name"),
        (vec!["station", "clinic.12"], "is not a name"),
        (vec!["station", "../ca"], "is not a name"),
        (vec!["centre", "a/b"], "is not a name"),
        (vec!["broker", "localhost,URI:x"], "is there already"),
        (vec!["renew", "clinic-99"], "there is no certificate"),
        (vec!["revoke", "clinic-99"], "there is no certificate"),
    ] {
        let output = authority.try_script(&arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(complaint), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read(&station.key)?, before);
    assert!(!authority.dir().join("stations/clinic-13.key").exists(), "all names are looked at first");
    let listed = authority.script(&["list"])?;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("clinic-12 ")), "{listed}");
    Ok(())
}

/// What a certificate is for, whose it is and for how long: openssl's own words.
#[test]
fn certificates_say_what_they_are_for() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let text = |path: &Path| {
        let mut command = std::process::Command::new("openssl");
        e2e::bin::succeed(command.args(["x509", "-noout", "-text", "-in"]).arg(path))
    };
    let assert_says = |path: &Path, words: &[&str]| {
        let text = text(path)?;
        for word in words {
            assert!(text.contains(word), "{}: no `{word}` in\n{text}", path.display());
        }
        anyhow::Ok(())
    };
    let station = authority.station("clinic-12")?;
    assert_says(
        &station.ca,
        &["Subject: CN = Test centre", "CA:TRUE, pathlen:0", "Certificate Sign, CRL Sign"],
    )?;
    assert_says(&station.cert, &["Subject: CN = clinic-12", "CA:FALSE", "TLS Web Client Authentication"])?;
    let names = "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1";
    assert_says(&authority.broker().cert, &["CA:FALSE", "TLS Web Server Authentication", names])?;
    for (identity, purpose) in [(station, "sslclient"), (authority.broker(), "sslserver")] {
        let mut verify = std::process::Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]).arg(&identity.ca);
        verify.args(["-crl_check", "-CRLfile"]).arg(authority.dir().join("crl.pem"));
        e2e::bin::succeed(verify.arg(&identity.cert))?;
    }
    Ok(())
}

/// The lines of the bridge in the broker's README, for brokers on this machine.
fn bridge_of_the_readme(centre_port: u16, site: &Identity) -> anyhow::Result<String> {
    let readme = fs::read_to_string(e2e::repository().join("deploy/broker/README.md"))?;
    let lines = readme.lines().map(str::trim).skip_while(|line| !line.starts_with("connection "));
    let lines: Vec<&str> = lines.take_while(|line| *line != "```").collect();
    assert!(lines.len() > 10, "README.md shows no bridge: {lines:?}");
    let certs = "/etc/mosquitto/certs/";
    Ok(lines
        .join("\n")
        .replace("broker.example.org:8883", &format!("localhost:{centre_port}"))
        .replace(&format!("{certs}ulna-ca.pem"), &site.ca.display().to_string())
        .replace(&format!("{certs}site-a.pem"), &site.cert.display().to_string())
        .replace(&format!("{certs}site-a.key"), &site.key.display().to_string()))
}

#[test]
fn a_sites_broker_passes_on_what_the_centre_lets_it() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let centre = Broker::of_centre(&authority)?;
    let rules = centre.dir().join("ulna.acl");
    let own = "user centre.site-a\ntopic write ulna/v1/clinic-12/#\ntopic read ulna/v1/clinic-12/cmd/#\n";
    fs::write(&rules, format!("{}\n{own}", fs::read_to_string(&rules)?))?;
    centre.reload()?;
    let bridge = bridge_of_the_readme(centre.port(), &authority.centre("site-a")?)?;
    let site = Broker::start_with(&format!("allow_anonymous true\n{bridge}\n"))?;
    let (at_site, at_centre) = (Collector::start(site.port())?, Collector::start(centre.observer_port()?)?);

    let send = |topic: &str| {
        let mut command = std::process::Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-V", "mqttv5", "-q", "1", "-m", "x", "-t", topic, "-p"]);
        e2e::bin::succeed(command.arg(site.port().to_string())).map(drop)
    };
    // Of another site; nothing of it must come, however long one waits for what is sent after it.
    send("ulna/v1/clinic-13/result")?;
    send("ulna/v1/clinic-12/result")?;
    send("ulna/v1/clinic-12/cmd/ping/1/ack")?;
    let commands = authority.centre("commands")?;
    for station in ["clinic-13", "clinic-12"] {
        assert_eq!(
            publish(centre.port(), &commands, &format!("ulna/v1/{station}/cmd/ping/2"), "x")?,
            Published::Taken
        );
    }
    let wait = |collector: &Collector, topic: &str| {
        collector.wait_for(topic, Duration::from_secs(30), |message| message.topic == topic).map(drop)
    };
    wait(&at_centre, "ulna/v1/clinic-12/result")?;
    wait(&at_centre, "ulna/v1/clinic-12/cmd/ping/1/ack")?;
    wait(&at_site, "ulna/v1/clinic-12/cmd/ping/2")?;
    thread::sleep(SHORT);
    assert!(!seen(&at_centre).iter().any(|line| line.contains("clinic-13/result")), "{:?}", seen(&at_centre));
    assert!(!seen(&at_site).iter().any(|line| line.contains("clinic-13/cmd")), "{:?}", seen(&at_site));
    Ok(())
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_reader() -> anyhow::Result<()> {
    let authority = Authority::new()?;
    let (station, archive) = (authority.station("clinic-12")?, authority.centre("archive")?);
    let broker = Broker::of_centre(&authority)?;
    let port = broker.port();
    let readers = [1, 2].map(|_| {
        let archive = archive.clone();
        thread::spawn(move || subscribe(port, &archive, "$share/archive/ulna/v1/+/result", 5))
    });
    thread::sleep(SHORT);
    for number in 0..10 {
        let taken = publish(port, &station, "ulna/v1/clinic-12/result", &number.to_string())?;
        assert_eq!(taken, Published::Taken);
    }
    let mut all = Vec::new();
    for reader in readers {
        let read = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??.context("not let in")?;
        assert!(!read.is_empty(), "one reader got nothing");
        all.extend(read);
    }
    all.sort();
    let expected: Vec<String> = (0..10).map(|number| format!("ulna/v1/clinic-12/result {number}")).collect();
    assert_eq!(all, expected);
    Ok(())
}
