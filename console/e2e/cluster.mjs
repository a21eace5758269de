// The real programs, started for a test: a coordinator that asks who calls, and a simulated worker. All end with the test.
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const PROGRAMS = resolve(import.meta.dirname, '../../target/debug');
const PATIENCE = 60_000;
const run = promisify(execFile);

/** Starts a program and waits until it says where it listens. */
async function start(name, flags) {
  const child = spawn(join(PROGRAMS, name), flags, { stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.on('data', (data) => (log = (log + data).slice(-20_000)));
  const address = await new Promise((done, fail) => {
    let said = '';
    const late = setTimeout(() => fail(new Error(`${name} does not come up:\n${log}`)), PATIENCE);
    child.stdout.on('data', (data) => {
      said += data;
      const found = /listening on (\S+)/.exec(said);
      if (found) done((clearTimeout(late), found[1]));
    });
    child.on('exit', (code) => (clearTimeout(late), fail(new Error(`${name} ended with ${code}:\n${log}`))));
  });
  return {
    address,
    log: () => log,
    /** Ends it and waits for that. */
    end: (signal = 'SIGKILL') =>
      new Promise((done) => {
        if (child.exitCode !== null || child.signalCode !== null) return done();
        child.on('exit', done);
        child.kill(signal);
      }),
  };
}

export class Cluster {
  static async start() {
    const cluster = new Cluster();
    cluster.folder = mkdtempSync(join(tmpdir(), 'countermove-console-'));
    writeFileSync(join(cluster.folder, 'first.token'), randomBytes(32).toString('hex'), { mode: 0o600 });
    writeFileSync(join(cluster.folder, 'auth.toml'), 'first_token = "first.token"\n', { mode: 0o600 });
    cluster.worker = await start('countermove-worker', ['--listen', '127.0.0.1:0', '--id', 'sim-1', '--simulate', '200000']);
    await cluster.serve('127.0.0.1:0');
    return cluster;
  }

  async serve(listen) {
    const flags = ['--listen', listen, '--workers', `http://${this.worker.address}`];
    flags.push('--store', `sqlite:${join(this.folder, 'store.db')}`, '--auth', join(this.folder, 'auth.toml'));
    this.coordinator = await start('countermove-coordinator', flags);
    this.url = `http://${this.coordinator.address}`;
  }

  /** Kills the coordinator, waits, and starts it again at the same address on the same store. */
  async restart(during = async () => {}) {
    const listen = this.coordinator.address;
    await this.coordinator.end();
    await during();
    await this.serve(listen);
  }

  /** Runs a command of the command line with a token, the first one unless another is given. */
  async command(args, token = '') {
    const who = token ? [] : ['--token-file', join(this.folder, 'first.token')];
    const env = { ...process.env, COUNTERMOVE_TOKEN: token, COUNTERMOVE_COORDINATOR: this.url };
    if (!token) delete env.COUNTERMOVE_TOKEN;
    const { stdout } = await run(join(PROGRAMS, 'countermove'), [...who, ...args], { env, timeout: PATIENCE });
    return stdout.trim();
  }

  /** A token with these roles in all tenants. */
  async token(description, ...roles) {
    return this.command(['tokens', 'create', description, '--tenant', '*', ...roles.flatMap((role) => ['--role', role]), '--expires', '1days']);
  }

  async end() {
    await this.coordinator?.end();
    await this.worker?.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
