// A certified OpenID provider (the npm package `oidc-provider`) with the people of a story. Its settings are a JSON file.
import crypto from 'node:crypto';
import fs from 'node:fs';
import https from 'node:https';
import { pathToFileURL } from 'node:url';

const settings = JSON.parse(fs.readFileSync(process.argv[2]));
const { default: Provider } = await import(pathToFileURL(`${settings.modules}/oidc-provider/lib/index.js`));

// Read anew each time: the story changes groups while it goes on.
const people = () => JSON.parse(fs.readFileSync(settings.people));
// By way of a text: a key that was just made may be exported only once its maker is done with it.
const texts = { privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } };
const key = (kind, options, alg) => {
  const { privateKey } = crypto.generateKeyPairSync(kind, { ...options, ...texts });
  return { ...crypto.createPrivateKey(privateKey).export({ format: 'jwk' }), use: 'sig', alg, kid: alg };
};

const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  claims: { profile: ['name', 'preferred_username'], groups: ['groups'] },
  scopes: ['openid', 'profile', 'groups'],
  cookies: { keys: [crypto.randomBytes(16).toString('hex')] },
  // It refuses to tell anybody on loopback, which is where a story is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, { ...options, signal: AbortSignal.timeout(5000) }),
  features: { backchannelLogout: { enabled: true } },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
  jwks: {
    keys: [
      key('rsa', { modulusLength: 2048 }, 'RS256'),
      key('rsa', { modulusLength: 2048 }, 'PS256'),
      key('ec', { namedCurve: 'P-256' }, 'ES256'),
      key('ed25519', {}, 'EdDSA'),
    ],
  },
  findAccount: (_, id) => people()[id] && {
    accountId: id,
    claims: () => ({ sub: id, ...people()[id] }),
  },
});
provider.on('backchannel.error', (_, error, client) => console.log(`backchannel ${client.clientId}: ${error} ${error.cause ?? ""}`));
provider.on('backchannel.success', (_, client) => console.log(`backchannel ${client.clientId}: told`));
const { port } = new URL(settings.issuer);
https
  .createServer({ key: fs.readFileSync(settings.key), cert: fs.readFileSync(settings.certificate) }, provider.callback())
  .listen(port, '127.0.0.1', () => console.log('listening'));
