//! Radiographs as pictures for the page.

use std::fs;
use std::io::Cursor;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::preprocess::{PreprocessSpec, to_plane};
use contract::radiograph::{Limits, decode};
use image::{ImageBuffer, ImageFormat, Luma};
use serde::Deserialize;

use crate::store::Refused;
use crate::web::problem::Problem;
use crate::web::{Sources, blocking};

const MAX_PX_DEFAULT: u32 = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PictureQuery {
    max_px: Option<u32>,
}

pub(super) async fn picture(
    Shared(sources): Shared<Sources>,
    Path(image_id): Path<String>,
    asked: Result<Query<PictureQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(PictureQuery { max_px }) = asked?;
    let max_px = max_px.unwrap_or(MAX_PX_DEFAULT).clamp(64, 4096);
    let path = sources.store.image_path(&image_id)?.ok_or(Refused::NoImage)?;
    let about = Arc::clone(&sources.about);
    // One at a time: a decoded radiograph is large, and the page asks for several at once.
    let _turn = sources.pictures.acquire().await;
    let png = blocking(move || -> Result<Vec<u8>, String> {
        let bytes = fs::read(&path).map_err(|error| format!("its file cannot be read ({error})"))?;
        render(&bytes, &about.limits, &about.input, max_px)
    })
    .await?
    .map_err(|why| {
        let detail = format!("this image cannot be shown: {why}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not-shown", detail)
    })?;
    Ok(png_answer(png))
}

pub(super) async fn preview(Shared(sources): Shared<Sources>) -> Result<Response, Problem> {
    let desk = sources.desk.clone();
    Ok(png_answer(blocking(move || desk.look()).await??))
}

fn png_answer(png: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "image/png")], png).into_response()
}

/// Decodes an image file and gives it as displayed, its longer side at most `max_px`, as an 8-bit grey PNG. `input` is
/// the model's: it says how a radiograph without a window of its own is windowed.
fn render(bytes: &[u8], limits: &Limits, input: &PreprocessSpec, max_px: u32) -> Result<Vec<u8>, String> {
    let radiograph = decode(bytes, limits).map_err(|error| error.to_string())?.radiograph;
    let longer = radiograph.width.max(radiograph.height);
    let scale = f64::from(max_px.min(longer)) / f64::from(longer);
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
    let spec = PreprocessSpec {
        width_px: side(radiograph.width),
        height_px: side(radiograph.height),
        aspect: contract::preprocess::Aspect::Squash,
        ..input.clone()
    };
    let plane = to_plane(&radiograph, &spec).map_err(|error| error.to_string())?;
    let picture = ImageBuffer::<Luma<u8>, _>::from_raw(plane.width_px, plane.height_px, plane.samples)
        .ok_or("its samples do not fill it")?;
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).map_err(|error| error.to_string())?;
    Ok(png.into_inner())
}
