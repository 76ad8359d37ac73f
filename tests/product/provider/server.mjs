// A certified OpenID provider, as an API team might run one: JWT access tokens (RFC 9068) with
// roles, PKCE for everybody. Standard input has one line of JSON with what is to be configured, and
// holds the process: it ends with whoever started it.
//
//   PUT /control/keys       sign with the first of these keys from now on, publish no others
//   GET /control/requests   how often each path was asked for

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { json } from 'node:stream/consumers';
import { errors, Provider } from 'oidc-provider';

const lines = createInterface({ input: process.stdin })
  .on('close', () => process.exit())
  [Symbol.asyncIterator]();
const { port, audiences, clients, roles, jwks } = JSON.parse((await lines.next()).value);
const requests = {};
let answer;

function provider(issuer, keys) {
  return new Provider(issuer, {
    clients,
    jwks: keys,
    cookies: { keys: ['only for tests'] },
    pkce: { required: () => true },
    // Of every loopback address, since the service's port is not known yet.
    clientBasedCORS: (_, origin) => new URL(origin).hostname === '127.0.0.1',
    extraTokenClaims: (_, token) => ({ roles: roles[token.accountId ?? token.clientId] }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo(_, resource) {
          if (!audiences.includes(resource)) throw new errors.InvalidTarget();
          return {
            audience: resource,
            scope: 'notes:read notes:write',
            accessTokenFormat: 'jwt',
            accessTokenTTL: 600,
            jwt: { sign: { alg: 'RS256', kid: keys.keys[0].kid } },
          };
        },
      },
    },
  }).callback();
}

const server = createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  if (path === '/control/keys') {
    answer = provider(issuer, await json(request));
    response.end();
  } else if (path === '/control/requests') {
    response.end(JSON.stringify(requests));
  } else {
    requests[path] = (requests[path] ?? 0) + 1;
    answer(request, response);
  }
});
await new Promise((listening) => server.listen(port, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
answer = provider(issuer, jwks);
console.log(`issuer ${issuer}`);
