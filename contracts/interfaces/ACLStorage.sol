// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// Says who may use which key.
interface ACLStorage {
    function checkPermissions(address requester, bytes32 serverKeyId) external view returns (bool);
}
