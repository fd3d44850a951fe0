//! Static files, from inside the binary. Their address holds a hash of all of them, so that a browser keeps them for
//! ever and never mixes two releases.

use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use actix_web::http::header;
use actix_web::web;
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use super::{Refusal, problem, request_id};
use crate::base::{Error, Result};

#[derive(RustEmbed)]
#[folder = "static/"]
#[allow_missing = true]
struct Files;

static PREFIX: OnceLock<String> = OnceLock::new();
/// Where the files are read instead, while somebody works on them.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// From now on every file is read from this folder at each request, and no browser keeps it. For development; it is to be
/// called before anything is served.
pub fn read_from(folder: &Path) -> Result<()> {
    if !folder.join("muster.css").is_file() {
        return Err(Error::not_found("the folder with `muster.css`", folder.display())
            .hint("run it in the source tree, or name the folder with `--static`"));
    }
    FOLDER.set(folder.to_owned()).map_err(|_| Error::conflict("the files are read from a folder already"))
}

/// A file by its name below `static/`.
fn find(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = FOLDER.get() else { return Files::get(name).map(|file| file.data.into_owned()) };
    read_below(folder, name)
}

fn read_below(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if plain { std::fs::read(folder.join(name)).ok() } else { None }
}

/// Where the files are served: `/static/<hash>`.
pub fn prefix() -> String {
    if FOLDER.get().is_some() {
        return "/static/dev".into();
    }
    PREFIX
        .get_or_init(|| {
            let mut names: Vec<_> = Files::iter().collect();
            names.sort();
            let mut hasher = blake3::Hasher::new();
            for name in names {
                let content = Files::get(&name).map(|f| f.data).unwrap_or_default();
                hasher.update(&(name.len() as u64).to_le_bytes());
                hasher.update(name.as_bytes());
                hasher.update(&(content.len() as u64).to_le_bytes());
                hasher.update(&content);
            }
            format!("/static/{}", &hasher.finalize().to_hex()[..16])
        })
        .clone()
}

/// Adds the route of the files.
pub fn configure(app: &mut web::ServiceConfig) {
    app.route("/static/{hash}/{path:.*}", web::get().to(serve));
    app.route("/static/{hash}/{path:.*}", web::head().to(serve));
}

async fn serve(request: HttpRequest, path: web::Path<(String, String)>) -> HttpResponse {
    let (hash, name) = path.into_inner();
    let Some(file) = find(&name) else {
        let refusal = Refusal::from(Error::not_found("file", name.chars().take(80).collect::<String>()));
        return problem(&refusal, &request_id(&request));
    };
    let current = FOLDER.get().is_none() && prefix().strip_prefix("/static/") == Some(&hash);
    let keep = if current { "public, max-age=31536000, immutable" } else { "no-store" };
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, media_type(&name)))
        .insert_header((header::CACHE_CONTROL, keep))
        .body(file)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "html" => "text/html; charset=utf-8",
        "txt" | "md" | "" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_files_and_nothing_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("static");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("muster.css"), "a").unwrap();
        std::fs::write(folder.path().join("secret"), "b").unwrap();
        assert_eq!(read_below(&inner, "muster.css").as_deref(), Some(&b"a"[..]));
        for name in ["../secret", "/etc/passwd", "none", "", "./../secret"] {
            assert_eq!(read_below(&inner, name), None, "{name}");
        }
        assert!(read_from(folder.path()).is_err(), "no such folder");
    }

    #[test]
    fn the_address_holds_a_hash_and_types_are_known() {
        let prefix = prefix();
        assert_eq!(prefix.len(), "/static/".len() + 16);
        assert_eq!(prefix, super::prefix());
        assert_eq!(media_type("fonts/a.woff2"), "font/woff2");
        assert_eq!(media_type("muster.css"), "text/css; charset=utf-8");
        assert_eq!(media_type("LICENSE"), "application/octet-stream");
    }
}
