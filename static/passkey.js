// Passkeys: asks the browser for one, puts its answer into the form, and sends that as any other form. Forms with
// data-passkey="get" or "create" are hidden until it is known that the browser can do it; everything else works without.
(() => {
  "use strict";
  if (!window.PublicKeyCredential || !navigator.credentials) return;
  const bytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer || []))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const list = (keys) => (keys || []).map((key) => ({ ...key, id: bytes(key.id) }));

  const ask = async (form) => {
    let options = form.dataset.options && JSON.parse(form.dataset.options);
    if (!options) {
      const answer = await fetch(form.dataset.optionsFrom, { headers: { Accept: "application/json" } });
      options = await answer.json();
      if (options.go) { location.href = options.go; return null; }
      if (!answer.ok) throw new Error(options.error || "The server gives no challenge.");
    }
    const publicKey = { ...options, challenge: bytes(options.challenge) };
    if (form.dataset.passkey === "create") {
      publicKey.user = { ...options.user, id: bytes(options.user.id) };
      publicKey.excludeCredentials = list(options.excludeCredentials);
      const made = await navigator.credentials.create({ publicKey });
      return { id: text(made.rawId), clientData: text(made.response.clientDataJSON), attestation: text(made.response.attestationObject) };
    }
    publicKey.allowCredentials = list(options.allowCredentials);
    const shown = await navigator.credentials.get({ publicKey });
    return {
      id: text(shown.rawId), clientData: text(shown.response.clientDataJSON), authenticatorData: text(shown.response.authenticatorData),
      signature: text(shown.response.signature), userHandle: text(shown.response.userHandle),
    };
  };

  const words = (error) => ({
    NotAllowedError: "The browser was given no passkey: it was called off, or took too long.",
    InvalidStateError: "This authenticator has a passkey for you already.",
    SecurityError: "The browser allows no passkeys under this address.",
  })[error.name] || error.message;

  document.querySelectorAll("form[data-passkey]").forEach((form) => { form.hidden = false; });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("form[data-passkey]") || form.elements.credential.value) return;
    event.preventDefault();
    const place = form.querySelector("[data-passkey-error]");
    const button = form.querySelector("button");
    place.hidden = true;
    button.disabled = true;
    try {
      const answer = await ask(form);
      if (answer) {
        form.elements.credential.value = JSON.stringify(answer);
        form.submit();
      }
    } catch (error) {
      place.textContent = words(error);
      place.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
})();
