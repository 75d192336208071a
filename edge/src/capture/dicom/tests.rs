//! The receiver against a peer that does not keep to the rules. Peers that do are DCMTK's, in tests/tests/dicom.rs.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use dicom_ul::association::ClientAssociation;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use dicom_ul::{ClientAssociationOptions, association::Error};

use super::*;
use crate::config::Config;
use crate::store::Store;

/// A receiver in its thread.
struct Bench {
    dir: tempfile::TempDir,
    address: SocketAddr,
    store: Store,
    health: Arc<Health>,
    report: Arc<Mutex<Report>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn new(extra: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "station = \"t\"\nstate_dir = \"{}\"\n[image]\nfile_max_mib = 1\n[dicom]\nlisten = \"127.0.0.1:0\"\n\
             calling_ae_titles = [\"DIGITISER\"]\nassociation_timeout_s = 1\n{extra}",
            dir.path().display()
        );
        let config = Config::parse(&text, Path::new("t.toml")).unwrap();
        let store = Store::open(&config.state_dir, config.limits).unwrap();
        let health = Arc::new(Health::default());
        let intake = Intake::new(&config, store.clone(), Arc::clone(&health), Arc::new(|| {}));
        let limits = config.image.limits();
        let mut dicom = Dicom::bind(config.dicom.unwrap(), limits, intake, Arc::clone(&health)).unwrap();
        let (address, stop) = (dicom.address(), Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&stop);
        let report = Arc::new(Mutex::new(Report::default()));
        let last = Arc::clone(&report);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                *last.lock().unwrap() = dicom.poll(crate::clock::boot_time());
                dicom.wait(Duration::from_millis(20));
            }
        });
        Self { dir, address, store, health, report, stop, thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    fn associate(&self) -> Result<ClientAssociation<TcpStream>, Error> {
        ClientAssociationOptions::new()
            .calling_ae_title("DIGITISER")
            .called_ae_title("ULNA")
            .with_presentation_context(uids::VERIFICATION, vec![uids::IMPLICIT_VR_LITTLE_ENDIAN])
            .with_presentation_context(
                uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
                vec![uids::EXPLICIT_VR_LITTLE_ENDIAN],
            )
            .establish(self.address)
    }

    /// Waits until the receiver holds a study, or no more.
    fn wait_until_held(&self, origin: &str, held: bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while self.report.lock().unwrap().holds(origin) != held {
            assert!(Instant::now() < until, "{origin} should be held: {held}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn images(&self) -> usize {
        self.store.newest_studies(100).unwrap().iter().map(|study| study.images.len()).sum()
    }

    /// Files in the store, whole or not.
    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("images")).unwrap().count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

/// A command set of short elements.
fn command(elements: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (element, value) in elements {
        bytes.extend([0, 0]);
        bytes.extend(element.to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(*value);
    }
    bytes
}

fn store_request(class: &str, instance: &str) -> Vec<u8> {
    let even = |uid: &str| [uid.as_bytes(), &[0][..uid.len() % 2]].concat();
    command(&[
        (0x0002, &even(class)),
        (0x0100, &[1, 0]),
        (0x0110, &[7, 0]),
        (0x0700, &[0, 0]),
        (0x0800, &[1, 0]),
        (0x1000, &even(instance)),
    ])
}

/// A data set in explicit VR little endian: a radiograph of the given sides, all of one value.
fn data_set(class: &str, instance: &str, rows: u16, columns: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut text = |group: u16, element: u16, vr: &[u8; 2], value: &str| {
        bytes.extend(group.to_le_bytes());
        bytes.extend(element.to_le_bytes());
        bytes.extend(vr);
        bytes.extend((value.len().next_multiple_of(2) as u16).to_le_bytes());
        bytes.extend(value.as_bytes());
        bytes.extend(&[if vr == b"UI" { 0 } else { b' ' }][..value.len() % 2]);
    };
    text(0x0008, 0x0016, b"UI", class);
    text(0x0008, 0x0018, b"UI", instance);
    text(0x0018, 0x0015, b"CS", "WRIST");
    text(0x0020, 0x000d, b"UI", "1.2.3");
    text(0x0028, 0x0004, b"CS", "MONOCHROME2");
    for (element, value) in
        [(0x0002, 1), (0x0010, rows), (0x0011, columns), (0x0100, 8), (0x0101, 8), (0x0102, 7), (0x0103, 0)]
    {
        bytes.extend([0x28, 0]);
        bytes.extend(u16::to_le_bytes(element));
        bytes.extend(b"US\x02\x00");
        bytes.extend(u16::to_le_bytes(value));
    }
    let pixels = usize::from(rows) * usize::from(columns);
    bytes.extend(b"\xe0\x7f\x10\x00OW\0\0");
    bytes.extend((pixels as u32).to_le_bytes());
    bytes.extend(vec![9; pixels]);
    bytes
}

fn send(peer: &mut ClientAssociation<TcpStream>, context: u8, kind: PDataValueType, bytes: &[u8]) {
    let mut chunks = bytes.chunks(16_000).peekable();
    while let Some(chunk) = chunks.next() {
        let value = PDataValue {
            presentation_context_id: context,
            value_type: kind.clone(),
            is_last: chunks.peek().is_none(),
            data: chunk.to_vec(),
        };
        peer.send(&Pdu::PData { data: vec![value] }).unwrap();
    }
}

/// The status of the next answer.
fn status(peer: &mut ClientAssociation<TcpStream>) -> u16 {
    let Pdu::PData { data } = peer.receive().unwrap() else { panic!("no answer") };
    let bytes = &data[0].data;
    let at = bytes.windows(4).position(|tag| tag == [0, 0, 0, 9]).expect("a status") + 8;
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

const CR: &str = uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE;

#[test]
fn refused_objects_leave_nothing_behind_and_the_association_goes_on() {
    let bench = Bench::new("");
    let mut peer = bench.associate().unwrap();
    let mut store = |request: Vec<u8>, data: &[u8]| {
        send(&mut peer, 3, PDataValueType::Command, &request);
        send(&mut peer, 3, PDataValueType::Data, data);
        status(&mut peer)
    };
    let good = data_set(CR, "1.2.3.4", 100, 100);
    assert_eq!(store(store_request(uids::BASIC_TEXT_SR_STORAGE, "1.2.3.4"), &good), 0x0122);
    assert_eq!(store(store_request(CR, "not/a/uid"), &good), 0x0117);
    assert_eq!(store(store_request(CR, "1.2.3.5"), &good), 0xa900);
    assert_eq!(store(store_request(CR, "1.2.3.4"), b"no data set at all"), 0xc000);
    assert_eq!(store(store_request(CR, "1.2.3.4"), &good[..150]), 0xc000);
    assert_eq!(store(store_request(CR, "1.2.3.4"), &vec![0; 3 << 20]), 0xc001);
    let mut huge = data_set(CR, "1.2.3.4", 14_200, 4);
    let columns = huge.windows(4).position(|tag| tag == [0x28, 0, 0x11, 0]).unwrap() + 8;
    huge[columns..columns + 2].copy_from_slice(&14_200u16.to_le_bytes());
    assert_eq!(store(store_request(CR, "1.2.3.4"), &huge), 0xc002);
    assert_eq!((bench.images(), bench.files()), (0, 0));

    assert_eq!(store(store_request(CR, "1.2.3.4"), &good), 0x0000);
    assert_eq!((bench.images(), bench.files()), (1, 1));
    assert_eq!(store(store_request(CR, "1.2.3.4"), &good), 0x0000, "sent again");
    let mut other = good.clone();
    *other.last_mut().unwrap() = 0;
    assert_eq!(store(store_request(CR, "1.2.3.4"), &other), 0x0111);
    assert_eq!((bench.images(), bench.files()), (1, 1));
    let study = bench.store.newest_studies(1).unwrap().remove(0);
    assert_eq!(study.origin, "dicom/XR_WRIST/1.2.3");
    assert_eq!(study.images[0].source_name, "DIGITISER");

    let delete = command(&[(0x0100, &[0x50, 0x01]), (0x0110, &[7, 0]), (0x0800, &[1, 1])]);
    send(&mut peer, 1, PDataValueType::Command, &delete);
    assert_eq!(status(&mut peer), 0x0211);
    peer.release().unwrap();
}

#[test]
fn an_open_association_holds_its_studies_and_an_object_in_transfer_all() {
    let bench = Bench::new("idle_timeout_s = 60\n");
    let mut peer = bench.associate().unwrap();
    bench.wait_until_held("dicom/XR_WRIST/1.2.3", false);
    send(&mut peer, 3, PDataValueType::Command, &store_request(CR, "1.2.3.4"));
    bench.wait_until_held("dicom/XR_WRIST/1.2.3", true);
    bench.wait_until_held("dicom/XR_HAND/9.9", true);
    assert!(!bench.report.lock().unwrap().holds("XR_HAND/folder/"), "that is the spool's");
    send(&mut peer, 3, PDataValueType::Data, &data_set(CR, "1.2.3.4", 100, 100));
    assert_eq!(status(&mut peer), 0);
    bench.wait_until_held("dicom/XR_HAND/9.9", false);
    bench.wait_until_held("dicom/XR_WRIST/1.2.3", true);
    peer.release().unwrap();
    bench.wait_until_held("dicom/XR_WRIST/1.2.3", false);
}

#[test]
fn what_is_stored_is_a_dicom_file() {
    let bench = Bench::new("");
    let mut peer = bench.associate().unwrap();
    let data = data_set(CR, "1.2.3.4", 100, 100);
    send(&mut peer, 3, PDataValueType::Command, &store_request(CR, "1.2.3.4"));
    send(&mut peer, 3, PDataValueType::Data, &data);
    assert_eq!(status(&mut peer), 0);
    let path = bench.store.claim().unwrap().unwrap().path();
    let bytes = fs::read(path).unwrap();
    assert!(bytes.ends_with(&data));
    let object = dicom_object::from_reader(bytes.as_slice()).unwrap();
    assert_eq!(object.meta().transfer_syntax(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(object.meta().media_storage_sop_instance_uid(), "1.2.3.4");
    let decoded = contract::radiograph::decode(&bytes, &Limits::default()).unwrap();
    assert_eq!((decoded.radiograph.width, decoded.radiograph.height), (100, 100));
}

#[test]
fn a_peer_that_breaks_off_or_breaks_the_rules_loses_its_connection_and_nothing_else() {
    let bench = Bench::new("");
    // Broken off in mid-object.
    let mut peer = bench.associate().unwrap();
    send(&mut peer, 3, PDataValueType::Command, &store_request(CR, "1.2.3.4"));
    let half = PDataValue {
        presentation_context_id: 3,
        value_type: PDataValueType::Data,
        is_last: false,
        data: vec![0; 10_000],
    };
    peer.send(&Pdu::PData { data: vec![half] }).unwrap();
    drop(peer);
    // A data set without a request, a request that does not end, and a context that was not agreed on.
    for (context, kind, length) in [
        (3, PDataValueType::Data, 10),
        (3, PDataValueType::Command, 100_000),
        (9, PDataValueType::Command, 0),
    ] {
        let mut peer = bench.associate().unwrap();
        let bytes = if length == 0 { store_request(CR, "1.2") } else { vec![0; length] };
        for chunk in bytes.chunks(10_000) {
            let value = PDataValue {
                presentation_context_id: context,
                value_type: kind.clone(),
                is_last: length <= 10,
                data: chunk.to_vec(),
            };
            // The connection may be gone by then.
            let _ = peer.send(&Pdu::PData { data: vec![value] });
        }
        assert!(matches!(peer.receive(), Ok(Pdu::AbortRQ { .. }) | Err(_)));
    }
    // A PDU longer than agreed is not waited for.
    let mut peer = bench.associate().unwrap();
    peer.inner_stream().write_all(&[4, 0, 0xff, 0xff, 0xff, 0xf0]).unwrap();
    assert!(matches!(peer.receive(), Ok(Pdu::AbortRQ { .. })));
    // Something else altogether.
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 300], &[1, 0, 0, 0, 0, 80, 0, 1, 0, 0]] {
        let mut socket = bench.connect();
        socket.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest[0] == 7, "{rest:?}");
    }
    let mut peer = bench.associate().unwrap();
    send(
        &mut peer,
        1,
        PDataValueType::Command,
        &command(&[(0x0100, &[0x30, 0]), (0x0110, &[1, 0]), (0x0800, &[1, 1])]),
    );
    assert_eq!(status(&mut peer), 0, "an echo");
    peer.release().unwrap();
    assert_eq!((bench.images(), bench.files()), (0, 0));
    assert_eq!(bench.health.gravest(), None);
}

#[test]
fn silence_ends_a_connection_and_a_crowd_keeps_nobody_out() {
    let bench = Bench::new("associations_max = 1\nidle_timeout_s = 1\n");
    let began = Instant::now();
    let crowd: Vec<TcpStream> = (0..60).map(|_| bench.connect()).collect();
    // The threads of those that were dropped may take a moment to end.
    let peer = loop {
        match bench.associate() {
            Ok(peer) => break peer,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(5), "{error:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    let refused = bench.associate().unwrap_err();
    let text = format!("{refused:?}");
    assert!(text.contains("Transient") && text.contains("LocalLimitExceeded"), "{text}");
    for mut socket in crowd {
        // Dropped, or told to go when the time for its request was over.
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
    }
    // The association is silent too, and makes room for the next.
    let until = Instant::now() + Duration::from_secs(10);
    while bench.associate().is_err() {
        assert!(Instant::now() < until, "a silent association stays for ever");
        thread::sleep(Duration::from_millis(50));
    }
    drop(peer);
}

#[test]
fn the_address_is_free_again_when_the_receiver_is_gone() {
    let bench = Bench::new("");
    let (address, open) = (bench.address, bench.associate().unwrap());
    let began = Instant::now();
    drop(bench);
    assert!(began.elapsed() < Duration::from_secs(4), "an open association held up the end");
    drop(open);
    assert!(TcpStream::connect(address).is_err());
}
