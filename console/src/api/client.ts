// Clients of the coordinator that served this page, over gRPC-web.
import { Code, ConnectError, createClient, type Interceptor } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { AccessService } from '../gen/countermove/v1/access_service_pb';
import { ClusterService } from '../gen/countermove/v1/cluster_service_pb';
import { IncidentService } from '../gen/countermove/v1/incident_service_pb';

/** Time for an answer, in ms; streams have none. */
const PATIENCE = 30_000;

let token = '';
let onUnauthenticated: () => void = () => {};

/** The token that goes with each call from now on; empty: none. */
export function useToken(value: string): void {
  token = value;
}

/** What happens when the coordinator no longer knows who calls. */
export function whenUnauthenticated(act: () => void): void {
  onUnauthenticated = act;
}

const identify: Interceptor = (next) => async (request) => {
  if (token) request.header.set('authorization', `Bearer ${token}`);
  try {
    return await next(request);
  } catch (error) {
    if (ConnectError.from(error).code === Code.Unauthenticated) onUnauthenticated();
    throw error;
  }
};

const transport = createGrpcWebTransport({
  baseUrl: location.origin,
  interceptors: [identify],
  defaultTimeoutMs: PATIENCE,
});

export const incidents = createClient(IncidentService, transport);
export const cluster = createClient(ClusterService, transport);
export const access = createClient(AccessService, transport);

/** A fresh idempotency key. `crypto.randomUUID` is missing where the page came over plain HTTP. */
export function requestId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
