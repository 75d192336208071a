//! `trainer explore`: a data set in pictures.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use anyhow::Context;
use contract::preprocess::PreprocessSpec;
use contract::study::StudyType;
use image::{GrayImage, ImageFormat};
use maud::{Markup, html};
use rand::seq::{IndexedRandom, SliceRandom};
use rand_pcg::Pcg64;

use crate::dataset::census::{Census, PerSplit, TypeCount};
use crate::dataset::{Index, Study, TRUTH_FILE, read};
use crate::figure::Bars;
use crate::page;
use crate::run::files::{io_fault, write_atomic};

/// Side of a radiograph on a sample sheet, pixels.
const TILE_PX: u32 = 192;
/// Between two radiographs, pixels.
const GAP_PX: u32 = 4;
const COLUMNS: usize = 4;
/// Size of a figure, pixels.
const FIGURE_PX: (u32, u32) = (900, 400);
/// Counts above are drawn together in the last group.
const GROUPS_MAX: usize = 12;

/// Arguments of `explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set in the MURA layout
    #[arg(long)]
    pub data: PathBuf,
    /// Directory for explore.html and its pictures; created when missing
    #[arg(long)]
    pub out: PathBuf,
    /// Radiographs on each sample sheet
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub per_sheet: u8,
    /// The choice of radiographs follows from it
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Draws the figures and sheets and writes the page.
///
/// # Errors
/// When the data set breaks the layout, or a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let index = Index::scan(&args.data)?;
    let census = Census::of(&index);
    fs::create_dir_all(&args.out).map_err(io_fault(format!("creating {}", args.out.display())))?;

    let mut charts = Vec::new();
    for (file, caption, bars) in figures(&census) {
        let svg = bars.svg(FIGURE_PX).with_context(|| format!("drawing {file}"))?;
        write_atomic(&args.out.join(file), svg.as_bytes())?;
        charts.push(page::chart(&svg, caption));
    }
    let mut sheets = Vec::new();
    for (study_type, abnormal) in census.types.keys().flat_map(|t| [(t, false), (t, true)]) {
        let Some(sheet) = Sheet::draw(&index, study_type, abnormal, args)? else {
            log::warn!("{study_type} has no {} radiograph to show", class(abnormal));
            continue;
        };
        let file = format!("{study_type}-{}.png", class(abnormal));
        write_atomic(&args.out.join(&file), &sheet.png)?;
        sheets.push(sheet);
    }
    let phantoms = args.data.join(TRUTH_FILE).is_file();
    let lead = format!("{} studies in the MURA layout, counted and looked at.", studies(&census.total()));
    let title = format!("The data set {}", index.name);
    let html = page::page(&title, &lead, &body(&index, &census, &charts, &sheets, phantoms));
    let path = args.out.join("explore.html");
    write_atomic(&path, html.as_bytes())?;
    println!("wrote {}, {} figures and {} sample sheets", path.display(), charts.len(), sheets.len());
    Ok(())
}

/// Normal or abnormal radiographs of one study type.
struct Sheet {
    study_type: StudyType,
    abnormal: bool,
    png: Vec<u8>,
    shown: usize,
    /// Chosen images that could not be read, and why.
    unreadable: Vec<(String, String)>,
}

impl Sheet {
    /// One radiograph each of random studies, of the training split where it has some. `None` when there is
    /// no readable one.
    fn draw(
        index: &Index,
        study_type: &StudyType,
        abnormal: bool,
        args: &Args,
    ) -> anyhow::Result<Option<Sheet>> {
        let wanted = |study: &&Study| study.study_type == *study_type && study.abnormal == abnormal;
        let mut studies: Vec<&Study> = index.train.iter().filter(wanted).collect();
        if studies.is_empty() {
            studies = index.valid.iter().filter(wanted).collect();
        }
        let stream = crc32c::crc32c(format!("{study_type} {abnormal}").as_bytes());
        let mut random = Pcg64::new(u128::from(args.seed), u128::from(stream));
        studies.shuffle(&mut random);
        let spec = PreprocessSpec::square(TILE_PX);
        let (mut tiles, mut unreadable) = (Vec::new(), Vec::new());
        for study in studies {
            if tiles.len() == usize::from(args.per_sheet) {
                break;
            }
            let Some(image) = study.images.choose(&mut random) else { continue };
            match read::plane(image, &spec) {
                Ok(samples) => tiles.push(samples),
                Err(reason) => unreadable.push((study.path_of(image), reason)),
            }
        }
        if tiles.is_empty() {
            return Ok(None);
        }
        let (study_type, shown) = (study_type.clone(), tiles.len());
        Ok(Some(Sheet { study_type, abnormal, png: png(&tiles)?, shown, unreadable }))
    }
}

/// Tiles in rows of [`COLUMNS`], on grey.
fn png(tiles: &[Vec<u8>]) -> anyhow::Result<Vec<u8>> {
    let columns = tiles.len().clamp(1, COLUMNS) as u32;
    let rows = tiles.len().div_ceil(COLUMNS) as u32;
    let pitch = TILE_PX + GAP_PX;
    let mut sheet = GrayImage::from_pixel(columns * pitch - GAP_PX, rows * pitch - GAP_PX, image::Luma([96]));
    for (place, samples) in (0u32..).zip(tiles) {
        let (left, top) = (place % columns * pitch, place / columns * pitch);
        for (y, row) in (0..).zip(samples.chunks_exact(TILE_PX as usize)) {
            for (x, sample) in (0..).zip(row) {
                sheet.put_pixel(left + x, top + y, image::Luma([*sample]));
            }
        }
    }
    let mut bytes = Cursor::new(Vec::new());
    sheet.write_to(&mut bytes, ImageFormat::Png).context("encoding a sample sheet as PNG")?;
    Ok(bytes.into_inner())
}

/// File name, caption and chart of each distribution.
fn figures(census: &Census) -> [(&'static str, &'static str, Bars); 4] {
    let types: Vec<String> =
        census.types.keys().map(|t| t.as_str().trim_start_matches("XR_").to_lowercase()).collect();
    let by_type = |of: &dyn Fn(&TypeCount) -> usize| -> Vec<f64> {
        census.types.values().map(|count| of(count) as f64).collect()
    };
    let chart = |title: &str, y_label: &str, groups: Vec<String>, series: Vec<(String, Vec<f64>)>| Bars {
        title: title.into(),
        y_label: y_label.into(),
        groups,
        series,
    };
    let splits = |of: &dyn Fn(&TypeCount) -> PerSplit| {
        vec![("train".into(), by_type(&|c| of(c)[0])), ("valid".into(), by_type(&|c| of(c)[1]))]
    };
    let histogram = |title: &str, y_label: &str, counts: &BTreeMap<usize, PerSplit>| {
        let (groups, [train, valid]) = grouped(counts);
        chart(title, y_label, groups, vec![("train".into(), train), ("valid".into(), valid)])
    };
    let labels = vec![
        ("train, normal".into(), by_type(&|c| c.normal[0])),
        ("train, abnormal".into(), by_type(&|c| c.abnormal[0])),
        ("valid, normal".into(), by_type(&|c| c.normal[1])),
        ("valid, abnormal".into(), by_type(&|c| c.abnormal[1])),
    ];
    [
        (
            "patients-per-type.svg",
            "Patients with at least one study of the type. A patient may have several types, and is in one split only.",
            chart("Patients per study type and split", "patients", types.clone(), splits(&|c| c.patients)),
        ),
        (
            "studies-per-patient.svg",
            "How many patients have this many studies, of all types together.",
            histogram("Studies per patient", "patients", &census.studies_per_patient),
        ),
        (
            "labels-per-type.svg",
            "Studies that the radiologist called normal and abnormal.",
            chart("Normal and abnormal studies per type", "studies", types, labels),
        ),
        (
            "images-per-study.svg",
            "How many studies have this many views.",
            histogram("Images per study", "studies", &census.images_per_study),
        ),
    ]
}

/// Counts as groups `1`, `2`, …, all above [`GROUPS_MAX`] in the last one.
fn grouped(counts: &BTreeMap<usize, PerSplit>) -> (Vec<String>, [Vec<f64>; 2]) {
    let highest = counts.keys().next_back().copied().unwrap_or(0);
    let last = highest.min(GROUPS_MAX);
    let names = (1..=last).map(|n| if n == last && highest > last { format!("{n}+") } else { n.to_string() });
    let mut heights = [vec![0.0; last], vec![0.0; last]];
    for (count, per_split) in counts {
        for (height, number) in heights.iter_mut().zip(per_split) {
            height[(*count).clamp(1, last) - 1] += *number as f64;
        }
    }
    (names.collect(), heights)
}

fn body(index: &Index, census: &Census, charts: &[Markup], sheets: &[Sheet], phantoms: bool) -> Markup {
    html! {
        @if phantoms {
            p.caution { "These are drawn phantoms, not radiographs of patients." }
        } @else {
            p.caution {
                "The sheets below show radiographs of the data set. Its licence says who may see them; "
                "for most, MURA among them, that rules out passing this page on."
            }
        }
        h2 { "Numbers" }
        (numbers(census))
        h2 { "Distributions" }
        div.figures { @for chart in charts { (chart) } }
        h2 { "Sample sheets" }
        @for sheet in sheets {
            (page::picture(&sheet.png, &format!(
                "{}, {}: one radiograph each of {} random studies, windowed and fitted into a square as for the network",
                sheet.study_type, class(sheet.abnormal), sheet.shown
            )))
        }
        @let unreadable: Vec<_> = sheets.iter().flat_map(|sheet| &sheet.unreadable).collect();
        (left_out("Chosen for a sheet, but not readable", &unreadable))
        (left_out("Skipped: does not fit the layout", &index.skipped.iter().collect::<Vec<_>>()))
    }
}

fn numbers(census: &Census) -> Markup {
    let row = |name: String, count: &TypeCount| {
        let cells = [count.patients, count.normal, count.abnormal, count.images].into_iter().flatten();
        let share = (count.abnormal[0] + count.abnormal[1]) as f64 / studies(count).max(1) as f64;
        let numbers = cells.map(|number| number.to_string()).chain([format!("{:.1} %", 100.0 * share)]);
        [name].into_iter().chain(numbers).collect::<Vec<String>>()
    };
    let types = census.types.iter().map(|(study_type, count)| row(study_type.to_string(), count));
    let rows: Vec<Vec<String>> = types.chain([row("all".to_owned(), &census.total())]).collect();
    let head = [
        "study type",
        "patients, train",
        "valid",
        "normal studies, train",
        "valid",
        "abnormal studies, train",
        "valid",
        "images, train",
        "valid",
        "abnormal",
    ];
    page::table(&head, &rows)
}

fn left_out(title: &str, entries: &[&(String, String)]) -> Markup {
    const ROWS_MAX: usize = 200;
    let rows: Vec<Vec<String>> =
        entries.iter().take(ROWS_MAX).map(|(path, reason)| vec![path.clone(), reason.clone()]).collect();
    html! {
        @if !entries.is_empty() {
            h2 { (title) }
            (page::table(&["path", "reason"], &rows))
            @if entries.len() > ROWS_MAX { p { (entries.len() - ROWS_MAX) " more" } }
        }
    }
}

fn studies(count: &TypeCount) -> usize {
    [count.normal, count.abnormal].into_iter().flatten().sum()
}

fn class(abnormal: bool) -> &'static str {
    if abnormal { "abnormal" } else { "normal" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_counts_share_the_last_group() {
        let (names, heights) = grouped(&BTreeMap::from([(1, [5, 2]), (3, [1, 0])]));
        assert_eq!(names, ["1", "2", "3"]);
        assert_eq!(heights, [vec![5.0, 0.0, 1.0], vec![2.0, 0.0, 0.0]]);
        let (names, heights) = grouped(&BTreeMap::from([(12, [1, 0]), (40, [2, 1])]));
        assert_eq!((names.len(), names[11].as_str()), (12, "12+"));
        assert_eq!((heights[0][11], heights[1][11]), (3.0, 1.0));
        assert!(grouped(&BTreeMap::new()).0.is_empty());
    }

    #[test]
    fn a_sheet_holds_its_tiles_in_rows() {
        let tiles: Vec<Vec<u8>> = (0..5).map(|t| vec![10 * t; (TILE_PX * TILE_PX) as usize]).collect();
        let sheet = image::load_from_memory(&png(&tiles).unwrap()).unwrap().into_luma8();
        assert_eq!(sheet.dimensions(), (4 * 196 - 4, 2 * 196 - 4));
        assert_eq!(sheet.get_pixel(3 * 196, 0).0, [30]);
        assert_eq!(sheet.get_pixel(5, 196).0, [40]);
        assert_eq!(sheet.get_pixel(300, 300).0, [96]);
    }
}
