//! What the page is made of. It lies in the binary, so that the page works without a network and without files.

use axum::Router;
use axum::http::header;
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// Path, media type and text of each.
const ASSETS: [(&str, &str, &str); 28] = [
    ("/", HTML, include_str!("page.html")),
    ("/icon.svg", PICTURE, include_str!("icon.svg")),
    ("/page.css", CSS, include_str!("page.css")),
    ("/page.js", SCRIPT, include_str!("page.js")),
    ("/page/answer.js", SCRIPT, include_str!("page/answer.js")),
    ("/page/api.js", SCRIPT, include_str!("page/api.js")),
    ("/page/cards.js", SCRIPT, include_str!("page/cards.js")),
    ("/page/dialog.js", SCRIPT, include_str!("page/dialog.js")),
    ("/page/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/page/heat.js", SCRIPT, include_str!("page/heat.js")),
    ("/page/history.js", SCRIPT, include_str!("page/history.js")),
    ("/page/home.js", SCRIPT, include_str!("page/home.js")),
    ("/page/lights.js", SCRIPT, include_str!("page/lights.js")),
    ("/page/live.js", SCRIPT, include_str!("page/live.js")),
    ("/page/open.js", SCRIPT, include_str!("page/open.js")),
    ("/page/outbox.js", SCRIPT, include_str!("page/outbox.js")),
    ("/page/pan.js", SCRIPT, include_str!("page/pan.js")),
    ("/page/preview.js", SCRIPT, include_str!("page/preview.js")),
    ("/page/screens.css", CSS, include_str!("page/screens.css")),
    ("/page/settings.js", SCRIPT, include_str!("page/settings.js")),
    ("/page/shapes.js", SCRIPT, include_str!("page/shapes.js")),
    ("/page/strip.js", SCRIPT, include_str!("page/strip.js")),
    ("/page/study.js", SCRIPT, include_str!("page/study.js")),
    ("/page/viewer.css", CSS, include_str!("page/viewer.css")),
    ("/page/viewer.js", SCRIPT, include_str!("page/viewer.js")),
    ("/page/views.js", SCRIPT, include_str!("page/views.js")),
    ("/page/words.js", SCRIPT, include_str!("page/words.js")),
    ("/text.js", SCRIPT, include_str!("text.js")),
];

/// Serves them.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], text) }))
    })
}
