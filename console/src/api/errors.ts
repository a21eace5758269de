// Errors of calls as a sentence for a person.
import { Code, ConnectError } from '@connectrpc/connect';

/** One sentence: what is wrong and, where it is known, what to do. */
export function sentence(error: unknown): string {
  const known = ConnectError.from(error);
  const said = known.rawMessage.trim();
  switch (known.code) {
    case Code.Unavailable:
    case Code.Unknown:
      return isNetwork(known) ? 'The coordinator does not answer.' : finish(said || 'The coordinator failed');
    case Code.DeadlineExceeded:
      return 'The coordinator did not answer in time.';
    default:
      return finish(said || Code[known.code]);
  }
}

/** Whether trying again can help without anybody doing something. */
export function passes(error: unknown): boolean {
  const { code } = ConnectError.from(error);
  return ![
    Code.Unauthenticated,
    Code.PermissionDenied,
    Code.NotFound,
    Code.InvalidArgument,
    Code.Unimplemented,
    Code.FailedPrecondition,
    Code.OutOfRange,
  ].includes(code);
}

function isNetwork(error: ConnectError): boolean {
  return error.cause instanceof TypeError || /fetch|network|HTTP 50[234]/i.test(error.rawMessage);
}

function finish(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
