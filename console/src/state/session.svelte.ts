// Who sits here. The token lives in this tab alone and goes with it.
import { access, useToken, whenUnauthenticated } from '../api/client';
import { passes, sentence } from '../api/errors';
import { millis } from '../lib/format';
import { may, mayAnywhere, type Caller, type Deed } from '../lib/rights';
import { Code, ConnectError } from '@connectrpc/connect';

const KEY = 'countermove-token';

class Session {
  /** Who calls, once the coordinator said so. */
  caller = $state<Caller & { expires: number | undefined }>();
  /** Asks for a token. */
  asks = $state(false);
  /** Why the last one was not taken, or nothing could be asked. */
  problem = $state('');

  constructor() {
    useToken(sessionStorage.getItem(KEY) ?? '');
    whenUnauthenticated(() => this.lost());
  }

  /** The coordinator asks nobody. */
  get isOpen(): boolean {
    return this.caller?.name === '';
  }

  may(deed: Deed, tenant: string): boolean {
    return may(this.caller, deed, tenant);
  }

  mayAnywhere(deed: Deed): boolean {
    return mayAnywhere(this.caller, deed);
  }

  /** Asks who calls, until there is an answer. */
  async start(): Promise<void> {
    for (let pause = 500; !this.caller && !this.asks; pause = Math.min(2 * pause, 8000)) {
      try {
        await this.ask();
      } catch (error) {
        if (ConnectError.from(error).code === Code.Unauthenticated) return;
        this.problem = sentence(error);
        if (!passes(error)) return;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  async signIn(token: string): Promise<void> {
    useToken(token);
    this.problem = '';
    try {
      await this.ask();
      sessionStorage.setItem(KEY, token);
    } catch (error) {
      useToken('');
      this.problem =
        ConnectError.from(error).code === Code.Unauthenticated ? 'The coordinator does not know this token, or it has expired.' : sentence(error);
    }
  }

  signOut(): void {
    sessionStorage.removeItem(KEY);
    useToken('');
    this.caller = undefined;
    this.problem = '';
    this.asks = true;
  }

  private async ask(): Promise<void> {
    const { name, grants, expireTime } = await access.getCaller({});
    this.caller = { name, grants, expires: millis(expireTime) };
    this.asks = false;
    this.problem = '';
  }

  private lost(): void {
    if (this.caller) this.problem = 'Your token has expired or was revoked. Nothing that you were about to do was done.';
    sessionStorage.removeItem(KEY);
    useToken('');
    this.caller = undefined;
    this.asks = true;
  }
}

export const session = new Session();
