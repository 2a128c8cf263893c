import { expect } from 'chai';
import { dom0Nodes, guestNodes, makeNodes } from '../../src/xenstore/guest-nodes.js';
import { connect, newState } from '../../src/xenstore/state.js';
import * as W from '../../src/xenstore/wire.js';
import { clientOf } from './client.js';
import { GUEST } from './guest.js';

function made() {
  const state = newState();
  for (const domid of [3, 4]) connect(state, domid);
  makeNodes(state, dom0Nodes(1_048_576));
  makeNodes(state, guestNodes(GUEST));
  return clientOf(state);
}

describe('nodes of a domain', () => {
  it('come parents first, once each, below what the toolstack owns', () => {
    const paths = guestNodes(GUEST).map(({ path }) => path);
    expect(new Set(paths)).to.have.length(paths.length);
    paths.forEach((path, n) => {
      const later = paths.slice(n + 1);
      expect(
        later.filter((other) => path.startsWith(`${other}/`)),
        path,
      ).to.deep.equal([]);
    });
  });

  it('are what a paravirtual kernel reads as it boots', () => {
    const it = made();
    for (const [path, value] of [
      ['name', 'web'],
      ['domid', '3'],
      ['vm', `/vm/${GUEST.uuid}`],
      ['memory/target', '262144'],
      ['memory/static-max', '524288'],
      ['cpu/0/availability', 'online'],
      ['cpu/1/availability', 'offline'],
      ['console/port', '2'],
      ['console/ring-ref', '233472'],
      ['console/limit', '1048576'],
      ['console/type', 'xenconsoled'],
      ['store/port', '1'],
      ['store/ring-ref', '233473'],
      ['control/shutdown', ''],
      ['control/platform-feature-xs_reset_watches', '1'],
      ['device/suspend/event-channel', ''],
      [`/vm/${GUEST.uuid}/name`, 'web'],
      ['/local/domain/0/backend/console/3/0/frontend', '/local/domain/3/console'],
    ] as const)
      expect([path, it.read(3, path)]).to.deep.equal([path, value]);
    expect(it.directory(3, 'device')).to.equal('suspend');
    expect(it.directory(3, 'backend')).to.equal('ENOENT');
  });

  it('have the permissions that libxl gives them', () => {
    const it = made();
    const own = '/local/domain/3';
    for (const [list, paths] of [
      ['n0,r3', ['', '/vm', '/cpu/0/availability', '/memory/target', '/device', '/control', '/store/port', '/console']],
      [
        'n3',
        ['/control/shutdown', '/control/feature-poweroff', '/control/sysrq', '/data', '/drivers', '/attr', '/error'],
      ],
    ] as const)
      for (const path of paths) expect([path, it.getPerms(0, own + path)]).to.deep.equal([path, list]);
    expect(it.getPerms(0, '/libxl/3')).to.equal('n0');
    expect(it.getPerms(0, '/local/domain/0')).to.equal('n0');
    expect(it.getPerms(0, '/local')).to.equal('n0');
  });

  it('let the domain do what Linux does at boot, and no more', () => {
    const it = made();
    for (const path of ['memory/target', 'control/shutdown', 'control/sysrq', 'backend', 'device', 'cpu'])
      expect(it.watch(3, path, path)).to.equal('OK');
    expect(it.events()).to.have.length(6);
    const tx = it.start(3);
    for (const feature of ['poweroff', 'reboot', 'suspend'])
      expect(it.write(3, `control/feature-${feature}`, '1', tx)).to.equal('OK');
    expect(it.end(3, tx)).to.equal('OK');
    expect(it.write(0, '/local/domain/3/control/shutdown', 'poweroff')).to.equal('OK');
    expect(it.events()).to.deep.equal(['3: control/shutdown control/shutdown']);
    expect([it.read(3, 'control/shutdown'), it.write(3, 'control/shutdown', '')]).to.deep.equal(['poweroff', 'OK']);
    expect(it.write(3, 'data/mine', 'x')).to.equal('OK');
    for (const path of ['memory/target', 'cpu/1/availability', 'name', 'new', '/vm/x', 'store/port'])
      expect([path, it.write(3, path, 'x')]).to.deep.equal([path, 'EACCES']);
    for (const path of ['/local/domain/0/name', '/libxl/3/type', '/local/domain', '/', '/tool/xenstored'])
      expect([path, it.read(3, path)]).to.deep.equal([path, 'EACCES']);
  });

  it('are nothing to another domain', () => {
    const it = made();
    for (const { path } of guestNodes(GUEST)) {
      expect([path, it.read(4, path)]).to.deep.equal([path, 'EACCES']);
      expect([path, it.write(4, path, '')]).to.deep.equal([path, 'EACCES']);
    }
  });

  it('are told of to those who watch, when they are all there', () => {
    const it = clientOf(newState());
    it.watch(0, '/local/domain/3/store', 't');
    const events = makeNodes(it.state, guestNodes(GUEST));
    expect(events).to.have.length(3);
    expect(events.every(({ domid, message }) => domid === 0 && message.type === W.XS_WATCH_EVENT)).to.equal(true);
    expect(it.state.connections.get(0)?.transactions).to.deep.equal([]);
  });
});
