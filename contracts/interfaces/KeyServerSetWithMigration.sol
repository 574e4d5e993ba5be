// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {KeyServerSet} from "contracts/interfaces/KeyServerSet.sol";

/// A key server set whose members move their shares to a new set before it takes over.
interface KeyServerSetWithMigration is KeyServerSet {
    event KeyServerAdded(address keyServer);
    event KeyServerRemoved(address keyServer);
    event MigrationStarted();
    event MigrationCompleted();

    function getMigrationKeyServers() external view returns (address[] memory);

    function getMigrationKeyServerPublic(address keyServer) external view returns (bytes memory);

    function getMigrationKeyServerAddress(address keyServer) external view returns (string memory);

    function getNewKeyServers() external view returns (address[] memory);

    function getNewKeyServerPublic(address keyServer) external view returns (bytes memory);

    function getNewKeyServerAddress(address keyServer) external view returns (string memory);

    /// Id of the running or the last migration; reverts when there has never been one.
    function getMigrationId() external view returns (bytes32);

    /// Who started the running migration; the zero address when none runs.
    function getMigrationMaster() external view returns (address);

    function isMigrationConfirmed(address keyServer) external view returns (bool);

    function startMigration(bytes32 id) external;

    function confirmMigration(bytes32 id) external;
}
