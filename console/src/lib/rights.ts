// What a caller may do, so that the page does not offer what would be refused. The coordinator decides.
import { Role, type Grant } from '../gen/countermove/v1/access_service_pb';

export type Deed = 'see' | 'act' | 'approve' | 'steer';

const ROLES: Record<Deed, Role[]> = {
  see: [Role.VIEWER, Role.RESPONDER, Role.APPROVER],
  act: [Role.RESPONDER, Role.APPROVER],
  approve: [Role.APPROVER],
  steer: [Role.OPERATOR],
};

export interface Caller {
  /** Empty: the coordinator asks nobody who calls, and whoever reaches it may do everything. */
  name: string;
  grants: Grant[];
}

export function may(caller: Caller | undefined, deed: Deed, tenant: string): boolean {
  if (!caller) return false;
  if (caller.name === '') return true;
  return caller.grants.some(
    (grant) => (grant.tenant === '*' || (deed !== 'steer' && grant.tenant === tenant)) && grant.roles.some((role) => ROLES[deed].includes(role)),
  );
}

/** Whether it may do so in any tenant. */
export function mayAnywhere(caller: Caller | undefined, deed: Deed): boolean {
  return caller !== undefined && (caller.name === '' || caller.grants.some((grant) => may(caller, deed, grant.tenant)));
}
