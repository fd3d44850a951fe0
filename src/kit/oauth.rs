//! What a program says about itself when it asks for a token, shows one, or gives one back.

/// A program at the door for tokens. It holds a secret, and so it cannot be printed.
pub struct OauthClient {
    /// Identifier of its key.
    pub id: String,
    /// The key's text, where it shows it.
    pub secret: Option<String>,
    /// The address that it asks from.
    pub from: String,
}
